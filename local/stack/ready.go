package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// Readiness is what a process says of itself.
type Readiness struct {
	Ready             bool
	Role              string
	Degraded, Reasons []string
}

func AskReady(ctx context.Context, p *proc.Process) (r Readiness, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.AdminURL+"/readyz", nil)
	if err != nil {
		return r, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	err = json.NewDecoder(response.Body).Decode(&r)
	if r.Ready != (response.StatusCode == http.StatusOK) {
		err = fmt.Errorf("it says ready: %t with status %d", r.Ready, response.StatusCode)
	}
	return r, err
}

// Role is what a relay says of itself.
func Role(p *proc.Process) string {
	r, err := AskReady(context.Background(), p)
	if err != nil {
		return ""
	}
	return r.Role
}

// Ping returns nil if the URL answers 200.
func Ping(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("%s: %s %s", url, response.Status, body)
	}
	return nil
}
