// Package redisset runs Redis as several servers: a cluster, or a master with a replica and Sentinels.
package redisset

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// Node is a redis-server that keeps nothing by itself, or a Sentinel.
type Node struct {
	*proc.Process
	Port int
	dir  string
}

// diskless lets a replica follow at once.
const diskless = "repl-diskless-sync-delay 0"

// NewNode prepares a redis-server with more lines in its configuration.
func NewNode(s *proc.State, name string, more ...string) (*Node, error) {
	n, err := prepare(s, name, "redis-server")
	if err != nil {
		return nil, err
	}
	return n, n.configure(append([]string{`save ""`, "appendonly no"}, more...)...)
}

// configure writes a file that Sentinels rewrite: a server that starts again is what they made it.
func (n *Node) configure(lines ...string) error {
	file := filepath.Join(n.dir, "redis.conf")
	n.Argv = append(n.Argv, file)
	lines = append([]string{fmt.Sprint("port ", n.Port), "bind 127.0.0.1", fmt.Sprintf("dir %q", n.dir)}, lines...)
	return os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func prepare(s *proc.State, name, binary string) (*Node, error) {
	path, err := exec.LookPath(binary)
	if err != nil {
		return nil, fmt.Errorf("%s is not on PATH (Debian: apt-get install redis-server redis-sentinel)", binary)
	}
	n := &Node{dir: filepath.Join(s.Dir, name)}
	// What the last time left knows other ports.
	if err := errors.Join(os.RemoveAll(n.dir), os.Mkdir(n.dir, 0o755)); err != nil {
		return nil, err
	}
	if n.Port, err = freeport.Find(); err != nil {
		return nil, err
	}
	n.Process = &proc.Process{
		Name: name, About: path, Argv: []string{path}, Log: s.Log(name), Changed: func(string) {},
		Ready: func(ctx context.Context) error {
			err := n.Do(ctx, "PING")
			if refused := redis.Error(nil); errors.As(err, &refused) {
				return nil
			}
			return err
		},
	}
	return n, nil
}

// Address is where it listens.
func (n *Node) Address() string { return proc.Address(n.Port) }

// Do runs a command as an operator does, whose rights nobody takes. Ask returns the answer, too.
func (n *Node) Do(ctx context.Context, command string) error {
	_, err := n.Ask(ctx, command)
	return err
}

func (n *Node) Ask(ctx context.Context, command string) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: n.Address(), MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	defer client.Close()
	var words []any
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	answer, err := client.Do(ctx, words...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	return answer, nil
}

// Kill ends it until Start.
func (n *Node) Kill() {
	n.Release()
	n.Signal(syscall.SIGKILL)
	n.Stop()
}

func processesOf(nodes []*Node) (processes []*proc.Process) {
	for _, n := range nodes {
		processes = append(processes, n.Process)
	}
	return processes
}
