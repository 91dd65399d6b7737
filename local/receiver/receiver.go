// Package receiver is what webhooks are sent to, as small as it can be.
package receiver

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

// Receiver listens on this machine.
type Receiver struct {
	Addr   string
	URL    string
	server *http.Server
}

// Take is told of each webhook. What it returns an error for comes again.
type Take func(id, kind string, run event.Run) error

// Print writes a line to out for each webhook.
func Print(out io.Writer) Take {
	return func(id, kind string, run event.Run) error {
		_, err := io.WriteString(out, line(kind, run, id))
		return err
	}
}

// Listen has webhooks taken until Close. It listens on the address, or on another one if that is taken.
func Listen(addr string, take Take) (*Receiver, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	r := &Receiver{
		Addr: listener.Addr().String(),
		URL:  "http://" + listener.Addr().String() + "/",
		server: &http.Server{
			ReadTimeout: 10 * time.Second,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
				if err := receive(take, http.MaxBytesReader(w, request.Body, 1<<20), request.Header); err != nil {
					http.Error(w, err.Error(), http.StatusBadRequest)
				}
			}),
		},
	}
	go func() { _ = r.server.Serve(listener) }() // until Close
	return r, nil
}

func (r *Receiver) Close() { _ = r.server.Close() }

// receive reads one webhook. Its signature is for those who know the secret: docs/events.md.
func receive(take Take, body io.Reader, header http.Header) error {
	var webhook struct {
		Type string
		Data event.Run
	}
	if err := json.NewDecoder(body).Decode(&webhook); err != nil {
		return err
	}
	return take(header.Get("webhook-id"), webhook.Type, webhook.Data)
}

// line is what is printed of a webhook.
func line(kind string, run event.Run, id string) string {
	if len(run.Operations) == 0 {
		return fmt.Sprintf("  webhook %s: %s\n", id, kind)
	}
	var operations strings.Builder
	for i, o := range run.Operations {
		const shown = 3
		if i == shown {
			fmt.Fprintf(&operations, " and %d more;", len(run.Operations)-shown)
			break
		}
		fmt.Fprintf(&operations, " %s", o.OperationType)
		if o.Amount != 0 {
			fmt.Fprintf(&operations, " %d", o.Amount)
		}
		fmt.Fprintf(&operations, " %s;", o.Status)
	}
	return fmt.Sprintf("  webhook %s:%s the wallet holds %d %s\n", id, operations.String(), run.Balance, run.Currency)
}
