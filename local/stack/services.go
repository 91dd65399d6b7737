package stack

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// StartServices starts the replicas of all services at once: they wait for what they need.
func (s *Stack) StartServices(ctx context.Context, c Config) error {
	started := time.Now()
	if err := s.MakeServices(c); err != nil {
		return err
	}
	results := make(chan error)
	for _, p := range s.Services {
		go func() { results <- p.Start(ctx) }()
	}
	var failure error
	for range s.Services {
		if err := <-results; err != nil && failure == nil {
			failure = err
		}
	}
	if failure != nil {
		return failure
	}
	fmt.Fprintf(s.out, "  %-9s ready in %4.1f s  %d api, %d relay, %d worker, %d hooks\n", "services", time.Since(started).Seconds(), c.APIs, c.Relays, c.Workers, c.Hooks)
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	return s.describe()
}

// MakeServices prepares the replicas, the first of each kind first.
func (s *Stack) MakeServices(c Config) error {
	for i := range max(c.APIs, c.Relays, c.Workers, c.Hooks) {
		for _, kind := range []struct {
			name  string
			count int
		}{{"api", c.APIs}, {"relay", c.Relays}, {"worker", c.Workers}, {"hooks", c.Hooks}} {
			if i >= kind.count {
				continue
			}
			p, err := s.Service(kind.name, i, c.HTTPAddr)
			if err != nil {
				return err
			}
			s.Services = append(s.Services, p)
		}
	}
	return nil
}

// Service is the i-th replica of a service.
func (s *Stack) Service(service string, i int, httpAddr string) (*proc.Process, error) {
	name := service
	if i > 0 {
		name = fmt.Sprintf("%s-%d", service, i+1)
	}
	admin, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	p := &proc.Process{
		Name: name, Argv: []string{s.program(service)}, Log: s.State.Log(name),
		AdminURL: "http://" + proc.Address(admin),
		Changed:  func(what string) { s.changed(name, what) },
	}
	p.Ready = func(ctx context.Context) error { return Ping(ctx, p.AdminURL+"/readyz") }
	p.Env = append([]string{
		"DATABASE_URL=" + s.Login[service], "REDIS_URL=" + s.Backing.RedisURL, "KAFKA_BROKERS=" + s.Backing.KafkaBrokers,
		"TOPIC=" + s.Topic, "ADMIN_ADDR=" + proc.Address(admin),
	}, slices.Concat(s.Backing.Secure.Env(), s.Env)...)
	switch service {
	case "api":
		if i > 0 || httpAddr == "" {
			port, err := freeport.Find()
			if err != nil {
				return nil, err
			}
			httpAddr = proc.Address(port)
		}
		webhooks, err := s.webhooks()
		if err != nil {
			return nil, err
		}
		p.Env = append(append(p.Env, "HTTP_ADDR="+httpAddr), webhooks...)
		s.urls[name] = "http://" + reachable(httpAddr)
		s.APIURLs = append(s.APIURLs, s.urls[name])
	case "worker":
		// A static member has its partitions back at once when it is started again.
		p.Env = append(p.Env, "GROUP_INSTANCE_ID="+name, "EVENTS_TOPIC="+s.EventsTopic)
	case "hooks":
		webhooks, err := s.webhooks()
		if err != nil {
			return nil, err
		}
		p.Env = append(append(p.Env, "EVENTS_TOPIC="+s.EventsTopic), webhooks...)
	}
	p.Env = append(p.Env, s.ServiceEnv[service]...)
	return p, nil
}

// webhooks are the settings that api and hooks share. The key stays with the state: a kept database has secrets that
// are encrypted with it.
func (s *Stack) webhooks() ([]string, error) {
	env := []string{"HOOKS_ALLOW=" + s.hooksAllow}
	if s.ownHooksKey {
		return env, nil
	}
	path := filepath.Join(s.State.Dir, "hooks-key")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		var secret [32]byte
		_, _ = rand.Read(secret[:]) // never fails
		if err := os.WriteFile(path, []byte("local:"+base64.StdEncoding.EncodeToString(secret[:])), 0o600); err != nil {
			return nil, err
		}
	}
	return append(env, "HOOKS_KEY_FILE="+path), nil
}

func (s *Stack) program(service string) string {
	if program, replaced := s.programs[service]; replaced {
		return program
	}
	return filepath.Join(s.Bin, service)
}

// Replace lets a service run another program from now on, and starts its replicas again with it.
func (s *Stack) Replace(ctx context.Context, service, program string) error {
	s.programs[service] = program
	for _, p := range s.Replicas(service) {
		p.Replace(program)
		if err := p.Restart(ctx, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return nil
}

// reachable is an address to connect to for one to listen on.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err == nil && (host == "" || host == "0.0.0.0" || host == "::") {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}
