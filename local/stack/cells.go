package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/apikey"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// Cells are several whole systems, which share nothing, behind one HAProxy.
type Cells struct {
	State  *proc.State
	Stacks []*Stack // cell 0 first
	Proxy  *Proxy
	APIKey string // the same in every cell

	states []*proc.State
	bin    string
	out    io.Writer
	mu     sync.Mutex
}

// NewCells starts nothing yet. What each cell keeps is in a folder of its own.
func NewCells(state *proc.State, c Config, bin string, out io.Writer) (*Cells, error) {
	cs := &Cells{State: state, bin: bin, out: out}
	for cell := range c.Cells {
		own, err := state.Part(fmt.Sprintf("cell-%d", cell))
		if err != nil {
			cs.Stop()
			return nil, err
		}
		s := New(own, c, bin, out)
		s.SetCell(cell)
		s.described = func() { _ = cs.describe() }
		cs.states, cs.Stacks = append(cs.states, own), append(cs.Stacks, s)
	}
	return cs, nil
}

// SetCell makes the stack a cell of several. It counts for services that are made later.
func (s *Stack) SetCell(cell int) {
	if s.ServiceEnv == nil {
		s.ServiceEnv = map[string][]string{}
	}
	s.ServiceEnv["api"] = append(s.ServiceEnv["api"], fmt.Sprintf("CELL=%d", cell))
}

// Start starts the cells one after the other, and the proxy at last; what has started when it fails is stopped.
func (cs *Cells) Start(ctx context.Context, c Config) (err error) {
	defer func() {
		if err != nil {
			cs.Stop()
		}
	}()
	root, err := Workspace()
	if err != nil {
		return err
	}
	addr := c.HTTPAddr
	c.HTTPAddr = "" // is the proxy's
	for cell, s := range cs.Stacks {
		fmt.Fprintf(cs.out, "  cell %d\n", cell)
		if err := s.Start(ctx, c); err != nil {
			return err
		}
	}
	if err := cs.shareKey(ctx); err != nil {
		return err
	}
	started := time.Now()
	cs.Proxy, err = StartProxy(ctx, root, cs.State, addr, cs.Stacks)
	if err != nil {
		return err
	}
	fmt.Fprintf(cs.out, "  %-9s ready in %4.1f s  %s\n", "haproxy", time.Since(started).Seconds(), cs.Proxy.URL)
	return cs.describe()
}

// shareKey makes cell 0's API key in the other cells.
func (cs *Cells) shareKey(ctx context.Context) error {
	cs.APIKey = cs.Stacks[0].APIKey
	for _, s := range cs.Stacks[1:] {
		if err := s.CopyKey(ctx, cs.APIKey); err != nil {
			return err
		}
	}
	return nil
}

// CopyKey lets the key of another stack, which has all tenants and scopes, in here too.
func (s *Stack) CopyKey(ctx context.Context, key string) error {
	hash, ok := apikey.Hash(key)
	if !ok {
		return errors.New("this is no API key")
	}
	s.APIKey = key
	return s.Ctl(ctx, io.Discard, "keys", "create", "local", "--hash", fmt.Sprintf("%x", hash), "--all-tenants", "--scopes", strings.Join(apikey.Scopes, ","))
}

// Stop stops the proxy first, so that no client meets a cell that is half gone.
func (cs *Cells) Stop() {
	if cs.Proxy != nil {
		cs.Proxy.Stop()
	}
	for _, s := range cs.Stacks {
		s.Stop()
	}
	for _, state := range cs.states {
		state.Close()
	}
	cs.states = nil
}

// describe writes stack.json: the one address, the proxy, and each cell as its own stack.json has it.
func (cs *Cells) describe() error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.Proxy == nil {
		return nil
	}
	d := struct {
		APIURL    string               `json:"apiUrl"`
		APIKey    string               `json:"apiKey"`
		Processes []processDescription `json:"processes"`
		Cells     []json.RawMessage    `json:"cells"`
	}{APIURL: cs.Proxy.URL, APIKey: cs.APIKey, Processes: []processDescription{{Name: "haproxy", PID: cs.Proxy.CurrentPID()}}}
	for _, state := range cs.states {
		text, err := os.ReadFile(filepath.Join(state.Dir, "stack.json"))
		if err != nil {
			return err
		}
		d.Cells = append(d.Cells, text)
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(cs.State.Dir, "stack.json"), append(text, '\n'))
}

// writeWhole writes a file that appears whole or not at all.
func writeWhole(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
