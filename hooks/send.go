package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/legendary-wallet/legendary-wallet/service"
	"github.com/legendary-wallet/legendary-wallet/service/egress"
)

const (
	sendTimeout = 15 * time.Second
	// maxHeaders bounds what a receiver may send before its body, and drained how much of the body is read so that
	// the connection can be used again. Nothing of it is kept.
	maxHeaders = 64 << 10
	drained    = 16 << 10
	drainFor   = time.Second
)

// sender sends deliveries: it is shared by all endpoints.
type sender struct {
	client *http.Client
}

func newSender(policy egress.Policy) *sender {
	transport := policy.Transport(&http.Transport{
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    sendTimeout,
		MaxResponseHeaderBytes: maxHeaders,
		MaxIdleConns:           1000,
		MaxIdleConnsPerHost:    maxFlying,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	})
	return &sender{&http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// target is where and how one endpoint is sent to.
type target struct {
	url     string
	secrets []string // that sign: the present one first
	err     error    // why nothing can be signed
}

// send makes one attempt, as Standard Webhooks 1.0.0 says.
func (s *sender) send(ctx context.Context, to target, id string, payload []byte) result {
	started := time.Now()
	r := s.attempt(ctx, to, id, payload, started)
	r.took = time.Since(started)
	r.err = printable(r.err)
	return r
}

func (s *sender) attempt(ctx context.Context, to target, id string, payload []byte, now time.Time) result {
	if to.err != nil {
		return result{verdict: unready, err: to.err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, bytes.NewReader(payload))
	if err != nil {
		return result{verdict: unreachable, err: "the URL cannot be called"}
	}
	header := request.Header
	header["Idempotency-Key"] = nil // is not sent: a kept connection that proves to be closed is replaced by a new one
	header.Set("Content-Type", "application/json")
	header.Set("User-Agent", "legendary-wallet/"+service.Version())
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, unixSeconds(now))
	signatures, err := sign(to.secrets, id, now, payload)
	if err != nil {
		return result{verdict: unready, err: err.Error()}
	}
	header.Set(standardwebhooks.HeaderWebhookSignature, signatures)
	response, err := s.client.Do(request)
	if err != nil {
		return result{verdict: unreachable, err: reason(err)}
	}
	defer response.Body.Close()
	r := judge(response.StatusCode, response.Header, now)
	drain(response.Body, cancel)
	return r
}

// drain reads a little of an answer's body: an endless or slow one costs its connection.
func drain(body io.Reader, cancel context.CancelFunc) {
	timer := time.AfterFunc(drainFor, cancel)
	defer timer.Stop()
	_, _ = io.CopyN(io.Discard, body, drained)
}

// reason says what the owner of an endpoint is told of an error: not which addresses a name has.
func reason(err error) string {
	var refused egress.Refused
	var lookup *net.DNSError
	var timeout interface{ Timeout() bool }
	var certificate *tls.CertificateVerificationError
	var operation *net.OpError
	var overall *url.Error
	switch {
	case errors.As(err, &refused):
		return refused.Error()
	case errors.As(err, &lookup):
		return "the host's name could not be resolved"
	case errors.As(err, &certificate):
		return "the certificate is not valid: " + certificate.Err.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "there was no answer in time"
	case errors.As(err, &operation) && operation.Op == "dial":
		return "no connection: " + cause(operation)
	case errors.As(err, &operation):
		return "the connection was lost: " + cause(operation)
	case errors.As(err, &overall):
		return overall.Err.Error()
	}
	return err.Error()
}

// cause is what the system says, without the addresses.
func cause(err *net.OpError) string {
	text := ""
	for inner := error(err.Err); inner != nil; inner = errors.Unwrap(inner) {
		text = inner.Error()
	}
	return cmp.Or(text, err.Op)
}
