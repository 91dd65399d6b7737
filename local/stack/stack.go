// Package stack is the whole system on one machine: the backing services and the services, configured,
// started in order, and replaced one by one.
//
// If it is killed, its processes end with it. A folder of temporary state that it left is removed by the
// next one.
package stack

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// Stack is the whole system: the backing services and the services.
type Stack struct {
	State *proc.State
	Bin   string
	Topic string
	// EventsTopic is empty where workers write no events.
	EventsTopic string
	Backing     *servers.Backing
	// Env is set for every service, ServiceEnv for all replicas of one.
	Env        []string
	ServiceEnv map[string][]string
	// Login is each service's own connection string.
	Login map[string]string

	// What starting has brought. APIURLs are in the order of the replicas.
	APIURLs  []string
	APIKey   string
	Services []*proc.Process

	out         io.Writer
	urls        map[string]string // of the apis, by process
	programs    map[string]string // those that Replace has put in the place of Bin's
	ownHooksKey bool              // the environment has one
	hooksAllow  string
	described   func() // stack.json is new; nil: nobody is told
	promoted    string // the server that is the primary now; empty: postgres
	mu          sync.Mutex
	running     bool
}

// New starts nothing yet.
func New(s *proc.State, c Config, bin string, out io.Writer) *Stack {
	return NewOn(s, BackingOf(c), c, bin, out)
}

// NewOn uses servers that others may use too.
func NewOn(s *proc.State, p *servers.Backing, c Config, bin string, out io.Writer) *Stack {
	return &Stack{
		State: s, Bin: bin, Topic: c.Topic, EventsTopic: c.EventsTopic, out: out, Backing: p, Env: c.Env,
		urls: map[string]string{}, programs: map[string]string{}, ownHooksKey: c.OwnHooksKey, hooksAllow: cmp.Or(c.HooksAllow, Loopback),
	}
}

// BackingOf is what a configuration gives or asks for.
func BackingOf(c Config) *servers.Backing {
	return &servers.Backing{DatabaseURL: c.DatabaseURL, RedisURL: c.RedisURL, KafkaBrokers: c.KafkaBrokers, Kafka: c.Kafka, Brokers: c.Brokers, Redis: c.Redis}
}

// Start brings everything up; what has started when it fails is stopped again.
func (s *Stack) Start(ctx context.Context, c Config) (err error) {
	defer func() {
		if err != nil {
			s.Stop()
			if ctx.Err() != nil {
				err = proc.ErrInterrupted
			}
		}
	}()
	if err := s.Backing.Start(ctx, s.State, s.out, s.changed); err != nil {
		return err
	}
	if err := call(ctx, c.Starting.ServersReady); err != nil {
		return err
	}
	if !s.State.Temporary && !c.Secure {
		if err := s.forgetStandbys(ctx); err != nil {
			return err
		}
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := call(ctx, c.Starting.Prepared); err != nil {
		return err
	}
	if err := s.StartStandbys(ctx, c.Standbys); err != nil {
		return err
	}
	return s.StartServices(ctx, c)
}

func call(ctx context.Context, hook func(context.Context) error) error {
	if hook == nil {
		return nil
	}
	return hook(ctx)
}

// Mute lets the stack report no more of what happens to its processes.
func (s *Stack) Mute() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = io.Discard
}

// Ctl runs the operator's command on this stack.
func (s *Stack) Ctl(ctx context.Context, out io.Writer, args ...string) error {
	return proc.RunCaptured(s.ctl(ctx, args...), out)
}

func (s *Stack) ctl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := proc.CommandIn(ctx, filepath.Join(s.Bin, "ctl"), args...)
	cmd.Env = append(slices.Concat(os.Environ(), s.Backing.Secure.Env()), "DATABASE_URL="+s.Backing.DatabaseURL, "REDIS_URL="+s.Backing.RedisURL, "KAFKA_BROKERS="+s.Backing.KafkaBrokers)
	return cmd
}

// Verify replays every wallet's history with the operator's command.
func (s *Stack) Verify(ctx context.Context, out io.Writer) error {
	return s.Ctl(ctx, out, s.verify()...)
}

// Verifier is the command that Verify runs.
func (s *Stack) Verifier(ctx context.Context) *exec.Cmd { return s.ctl(ctx, s.verify()...) }

// VerifyWithGaps is Verify where outcomes may not have been told: by a worker of the last release, or while
// their topic was not registered.
func (s *Stack) VerifyWithGaps(ctx context.Context, out io.Writer) error {
	return s.Ctl(ctx, out, append(s.verify(), "--event-gaps")...)
}

func (s *Stack) verify() []string {
	return []string{"verify", "--overdue", "0s", "--topic", s.Topic, "--events-topic", s.EventsTopic}
}

// KafkaOptions are those of a client of local's own.
func (s *Stack) KafkaOptions(more ...kgo.Opt) []kgo.Opt {
	return s.Backing.Secure.KafkaOptions(s.Backing.KafkaBrokers, more...)
}

// Stop stops the services before what they work with, so that they drain.
func (s *Stack) Stop() {
	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	proc.StopAll(s.Services)
	s.Backing.Stop()
}

// Process finds a service or part by its name.
func (s *Stack) Process(name string) *proc.Process {
	for _, p := range slices.Concat(s.Services, s.Backing.Processes) {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Replicas are the processes of a service, or a server.
func (s *Stack) Replicas(name string) (replicas []*proc.Process) {
	for _, p := range slices.Concat(s.Services, s.Backing.Processes) {
		if p.Name == name || strings.HasPrefix(p.Name, name+"-") {
			replicas = append(replicas, p)
		}
	}
	return replicas
}

// Broker is the process of a node.
func (s *Stack) Broker(node int32) (*proc.Process, error) {
	if p := s.Process(servers.BrokerName(int(node) - 1)); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("there is no broker %d", node)
}

// Postmaster is the process of the first Postgres, or 0.
func (s *Stack) Postmaster() int { return s.postmasterOf("postgres") }

// postmasterOf is a Postgres server's own process, or 0: it detaches itself from its launcher, and is found
// by its data.
func (s *Stack) postmasterOf(name string) int {
	for _, p := range s.Backing.Processes {
		if p.Name == name && isPostgres(name) {
			return proc.PostmasterOf(servers.Server{Process: p}.Data())
		}
	}
	return 0
}

func isPostgres(name string) bool { return name == "postgres" || strings.HasPrefix(name, "postgres-") }

// PIDs are those of all processes by name, but for Postgres and its standbys.
func (s *Stack) PIDs() map[string]int {
	pids := map[string]int{}
	for _, p := range slices.Concat(s.Services, s.Backing.Processes) {
		if !isPostgres(p.Name) {
			pids[p.Name] = p.CurrentPID()
		}
	}
	return pids
}

// changed reports a child that ended or was started again.
func (s *Stack) changed(name, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return
	}
	if what != "" {
		fmt.Fprintf(s.out, "  %s %s\n", name, what)
	}
	_ = s.describe()
	if p := s.Process(name); p != nil && what == "" && isPostgres(name) {
		go s.describeReady(p) // its launcher runs, the server not yet
	}
}

// describeReady describes the stack once more when a process is ready.
func (s *Stack) describeReady(p *proc.Process) {
	if p.AwaitReady(context.Background(), false) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		_ = s.describe()
	}
}

// description is stack.json.
type description struct {
	APIURL       string               `json:"apiUrl"`
	APIKey       string               `json:"apiKey"`
	DatabaseURL  string               `json:"databaseUrl"`
	RedisURL     string               `json:"redisUrl"`
	KafkaBrokers string               `json:"kafkaBrokers"`
	Topic        string               `json:"topic"`
	EventsTopic  string               `json:"eventsTopic,omitempty"`
	Processes    []processDescription `json:"processes"`
}

type processDescription struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	AdminURL string `json:"adminUrl"`
	APIURL   string `json:"apiUrl,omitempty"`
}

// describe writes stack.json, which appears whole or not at all.
func (s *Stack) describe() error {
	d := description{
		APIURL: s.APIURLs[0], APIKey: s.APIKey, DatabaseURL: s.Backing.DatabaseURL, RedisURL: s.Backing.RedisURL,
		KafkaBrokers: s.Backing.KafkaBrokers, Topic: s.Topic, EventsTopic: s.EventsTopic,
	}
	for _, p := range slices.Concat(s.Services, s.Backing.Processes) {
		pid := p.CurrentPID()
		if postmaster := s.postmasterOf(p.Name); postmaster != 0 {
			pid = postmaster
		}
		d.Processes = append(d.Processes, processDescription{p.Name, pid, p.AdminURL, s.urls[p.Name]})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := writeWhole(filepath.Join(s.State.Dir, "stack.json"), append(text, '\n')); err != nil {
		return err
	}
	if s.described != nil {
		s.described()
	}
	return nil
}
