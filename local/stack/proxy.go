package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/db/walletid"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// Proxy is HAProxy with the configuration of deploy/cells.
type Proxy struct {
	*proc.Process
	URL string
}

// StartProxy puts cells behind one address; an empty one is a free port. The configuration is that of deploy/cells,
// with these cells. The assignment of buckets stays with the state: it never changes.
func StartProxy(ctx context.Context, root string, state *proc.State, addr string, cells []*Stack) (*Proxy, error) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		return nil, errors.New("CELLS needs haproxy on PATH (Debian: apt-get install haproxy)")
	}
	if addr == "" {
		port, err := freeport.Find()
		if err != nil {
			return nil, err
		}
		addr = proc.Address(port)
	}
	folder := filepath.Join(state.Dir, "haproxy")
	if err := configureProxy(filepath.Join(root, "deploy", "cells"), folder, addr, cells); err != nil {
		return nil, fmt.Errorf("configure haproxy: %w", err)
	}
	p := &Proxy{URL: "http://" + reachable(addr)}
	p.Process = &proc.Process{
		Name: "haproxy", Log: state.Log("haproxy"),
		Argv:  []string{program, "-db", "-f", filepath.Join(folder, "haproxy.cfg"), "-f", filepath.Join(folder, "cells.cfg")},
		Ready: func(ctx context.Context) error { return Ping(ctx, p.URL+"/openapi.yaml") },
	}
	return p, p.Start(ctx)
}

// configureProxy copies the configuration, and writes what differs from place to place.
func configureProxy(from, to, addr string, cells []*Stack) error {
	kept, err := os.ReadFile(filepath.Join(to, "buckets.map"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(to, "haproxy.cfg"))
	if err != nil {
		return err
	}
	listening := strings.Replace(string(text), "    bind :8080\n", "    bind "+addr+"\n", 1)
	shares := shares(len(cells))
	if kept == nil {
		kept = shares
	}
	for name, text := range map[string][]byte{
		"haproxy.cfg": []byte(listening), "cells.cfg": backends(cells), "buckets.map": kept, "openings.map": shares,
	} {
		if err := os.WriteFile(filepath.Join(to, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// shares gives each cell as many buckets.
func shares(cells int) []byte {
	var lines strings.Builder
	for cell := range cells {
		fmt.Fprintf(&lines, "%d:%d %d\n", walletid.Buckets*cell/cells, walletid.Buckets*(cell+1)/cells-1, cell)
	}
	return []byte(lines.String())
}

// backends are the apis of each cell, which say at their admin address whether they are ready.
func backends(cells []*Stack) []byte {
	var lines strings.Builder
	for cell, s := range cells {
		fmt.Fprintf(&lines, "backend cell-%d\n    balance leastconn\n    option httpchk GET /readyz\n    default-server check inter 1s fall 2 rise 1\n", cell)
		for _, p := range s.Services {
			if api, isAPI := s.urls[p.Name]; isAPI {
				fmt.Fprintf(&lines, "    server %s %s port %s\n", p.Name, hostOf(api), portOf(p.AdminURL))
			}
		}
	}
	return []byte(lines.String())
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func portOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Port()
}
