package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// stack is the whole system: the parts and the services.
type stack struct {
	state *proc.State
	bin   string
	topic string
	out   io.Writer
	parts *servers.Backing
	// login is each service's own connection string.
	login map[string]string
	// env is set for every service, serviceEnv for all replicas of one.
	env        []string
	serviceEnv map[string][]string

	// promoted is the server that is the primary now; empty: postgres.
	promoted string

	apiURLs  []string
	apiKey   string
	services []*proc.Process
	urls     map[string]string // of the apis, by process
	programs map[string]string // those that replace has put in the place of bin's

	hooks hooks

	mu      sync.Mutex
	running bool
}

// hooks are called while a stack starts, each if it is there.
type hooks struct {
	serversReady func(context.Context) error
	prepared     func(context.Context) error // the database, the topic and the key are there
}

// newStack starts nothing yet.
func newStack(s *proc.State, c config, bin string, out io.Writer) *stack {
	return newStackOn(s, partsOf(c), c, bin, out)
}

// newStackOn uses servers that others may use too.
func newStackOn(s *proc.State, p *servers.Backing, c config, bin string, out io.Writer) *stack {
	return &stack{
		state: s, bin: bin, topic: c.topic, out: out, parts: p, env: c.env,
		urls: map[string]string{}, programs: map[string]string{},
	}
}

func partsOf(c config) *servers.Backing {
	return &servers.Backing{DatabaseURL: c.databaseURL, RedisURL: c.redisURL, KafkaBrokers: c.kafkaBrokers, Kafka: c.kafka, Brokers: c.brokers}
}

// start brings everything up; what has started when it fails is stopped again.
func (s *stack) start(ctx context.Context, c config) (err error) {
	defer func() {
		if err != nil {
			s.stop()
			if ctx.Err() != nil {
				err = proc.ErrInterrupted
			}
		}
	}()
	if err := s.parts.Start(ctx, s.state, s.out, s.changed); err != nil {
		return err
	}
	if err := call(ctx, s.hooks.serversReady); err != nil {
		return err
	}
	if !s.state.Temporary && !c.secure {
		if err := s.forgetStandbys(ctx); err != nil {
			return err
		}
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	if err := call(ctx, s.hooks.prepared); err != nil {
		return err
	}
	if err := s.startStandbys(ctx, c.standbys); err != nil {
		return err
	}
	return s.startServices(ctx, c)
}

func call(ctx context.Context, hook func(context.Context) error) error {
	if hook == nil {
		return nil
	}
	return hook(ctx)
}

// prepare makes what the services expect to find in the parts.
func (s *stack) prepare(ctx context.Context) error {
	started := time.Now()
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.createTopic(ctx); err != nil {
		return err
	}
	if err := s.createKey(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "  %-9s ready in %4.1f s  migrations, logins, topic %s, API key\n", "database", time.Since(started).Seconds(), s.topic)
	return nil
}

// migrate applies the migrations and makes each service's login.
func (s *stack) migrate(ctx context.Context) error {
	log, err := os.Create(s.state.Log("migrate"))
	if err != nil {
		return err
	}
	defer log.Close()
	if err := testdb.Migrate(s.parts.DatabaseURL, log); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.parts.DatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	s.login = map[string]string{}
	for _, service := range []string{"api", "relay", "worker"} {
		name := "local_" + service
		_, err := conn.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN
			CREATE ROLE %[1]s LOGIN PASSWORD 'local' IN ROLE wallet_%[2]s;
		EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$`, name, service))
		if err != nil {
			return fmt.Errorf("make the login of %s: %w", service, err)
		}
		u, err := url.Parse(s.parts.DatabaseURL)
		if err != nil {
			return err
		}
		u.User = url.UserPassword(name, "local")
		s.login[service] = u.String()
	}
	return nil
}

func (s *stack) createTopic(ctx context.Context) error {
	create := []string{"topic", "create", s.topic, "--partitions", fmt.Sprint(topicPartitions)}
	if s.parts.Brokers == servers.ClusterBrokers {
		create = append(create, "--replication-factor", "3", "--min-insync-replicas", "2")
	}
	return s.ctl(ctx, io.Discard, create...)
}

// createKey makes an API key. It is stored nowhere, so each start of a stack has its own.
func (s *stack) createKey(ctx context.Context) error {
	var key strings.Builder
	if err := s.ctl(ctx, &key, "keys", "create", "local"); err != nil {
		return err
	}
	s.apiKey = strings.TrimSpace(key.String())
	return nil
}

// startServices starts the replicas of all services at once: they wait for what they need.
func (s *stack) startServices(ctx context.Context, c config) error {
	started := time.Now()
	if err := s.makeServices(c); err != nil {
		return err
	}
	results := make(chan error)
	for _, p := range s.services {
		go func() { results <- p.Start(ctx) }()
	}
	var failure error
	for range s.services {
		if err := <-results; err != nil && failure == nil {
			failure = err
		}
	}
	if failure != nil {
		return failure
	}
	fmt.Fprintf(s.out, "  %-9s ready in %4.1f s  %d api, %d relay, %d worker\n", "services", time.Since(started).Seconds(), c.apis, c.relays, c.workers)
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	return s.describe()
}

// makeServices prepares the replicas, the first of each kind first.
func (s *stack) makeServices(c config) error {
	for i := range max(c.apis, c.relays, c.workers) {
		for _, kind := range []struct {
			name  string
			count int
		}{{"api", c.apis}, {"relay", c.relays}, {"worker", c.workers}} {
			if i >= kind.count {
				continue
			}
			p, err := s.service(kind.name, i, c.httpAddr)
			if err != nil {
				return err
			}
			s.services = append(s.services, p)
		}
	}
	return nil
}

// service is the i-th replica of a service.
func (s *stack) service(service string, i int, httpAddr string) (*proc.Process, error) {
	name := service
	if i > 0 {
		name = fmt.Sprintf("%s-%d", service, i+1)
	}
	admin, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	p := &proc.Process{
		Name: name, Argv: []string{s.program(service)}, Log: s.state.Log(name),
		AdminURL: "http://" + proc.Address(admin),
		Changed:  func(what string) { s.changed(name, what) },
	}
	p.Ready = func(ctx context.Context) error { return ping(ctx, p.AdminURL+"/readyz") }
	p.Env = append([]string{
		"DATABASE_URL=" + s.login[service], "REDIS_URL=" + s.parts.RedisURL, "KAFKA_BROKERS=" + s.parts.KafkaBrokers,
		"TOPIC=" + s.topic, "ADMIN_ADDR=" + proc.Address(admin),
	}, slices.Concat(s.parts.Secure.Env(), s.env)...)
	switch service {
	case "api":
		if i > 0 || httpAddr == "" {
			port, err := proc.FreePort()
			if err != nil {
				return nil, err
			}
			httpAddr = proc.Address(port)
		}
		p.Env = append(p.Env, "HTTP_ADDR="+httpAddr)
		s.urls[name] = "http://" + reachable(httpAddr)
		s.apiURLs = append(s.apiURLs, s.urls[name])
	case "worker":
		// A static member has its partitions back at once when it is started again.
		p.Env = append(p.Env, "GROUP_INSTANCE_ID="+name)
	}
	p.Env = append(p.Env, s.serviceEnv[service]...)
	return p, nil
}

func (s *stack) program(service string) string {
	if program, replaced := s.programs[service]; replaced {
		return program
	}
	return filepath.Join(s.bin, service)
}

// replace lets a service run another program from now on, and starts its replicas again with it.
func (s *stack) replace(ctx context.Context, service, program string) error {
	s.programs[service] = program
	for _, p := range s.replicas(service) {
		p.Replace(program)
		if err := p.Restart(ctx, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return nil
}

// quiet lets the stack report no more of what happens to its processes.
func (s *stack) quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = io.Discard
}

// reachable is an address to connect to for one to listen on.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err == nil && (host == "" || host == "0.0.0.0" || host == "::") {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}

// ctl runs the operator's command on this stack.
func (s *stack) ctl(ctx context.Context, out io.Writer, args ...string) error {
	cmd := proc.CommandIn(ctx, filepath.Join(s.bin, "ctl"), args...)
	cmd.Env = append(slices.Concat(os.Environ(), s.parts.Secure.Env()), "DATABASE_URL="+s.parts.DatabaseURL, "REDIS_URL="+s.parts.RedisURL, "KAFKA_BROKERS="+s.parts.KafkaBrokers)
	return proc.RunCaptured(cmd, out)
}

// verify replays every wallet's history with the operator's command.
func (s *stack) verify(ctx context.Context, out io.Writer) error {
	return s.ctl(ctx, out, "verify", "--overdue", "0s", "--topic", s.topic)
}

// kafkaOptions are those of a client of local's own.
func (s *stack) kafkaOptions(more ...kgo.Opt) []kgo.Opt {
	return s.parts.Secure.KafkaOptions(s.parts.KafkaBrokers, more...)
}

// stop stops the services before what they work with, so that they drain.
func (s *stack) stop() {
	s.mu.Lock()
	s.running = false
	s.mu.Unlock()
	proc.StopAll(s.services)
	s.parts.Stop()
}

// process finds a service or part by its name.
func (s *stack) process(name string) *proc.Process {
	for _, p := range slices.Concat(s.services, s.parts.Processes) {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// replicas are the processes of a service, or a server.
func (s *stack) replicas(name string) (replicas []*proc.Process) {
	for _, p := range slices.Concat(s.services, s.parts.Processes) {
		if p.Name == name || strings.HasPrefix(p.Name, name+"-") {
			replicas = append(replicas, p)
		}
	}
	return replicas
}

// broker is the process of a node.
func (s *stack) broker(node int32) (*proc.Process, error) {
	if p := s.process(servers.BrokerName(int(node) - 1)); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("there is no broker %d", node)
}

// postmaster is Postgres's own process, or 0: it detaches itself from its launcher, and is found by its data.
func (s *stack) postmaster() int {
	return proc.PostmasterOf(filepath.Join(s.state.Dir, "postgres", "data"))
}

// pids are those of all processes but Postgres, by name.
func (s *stack) pids() map[string]int {
	pids := map[string]int{}
	for _, p := range slices.Concat(s.services, s.parts.Processes) {
		if p.Name != "postgres" {
			pids[p.Name] = p.CurrentPID()
		}
	}
	return pids
}

// changed reports a child that ended or was started again.
func (s *stack) changed(name, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return
	}
	if what != "" {
		fmt.Fprintf(s.out, "  %s %s\n", name, what)
	}
	_ = s.describe()
}

// description is stack.json.
type description struct {
	APIURL       string               `json:"apiUrl"`
	APIKey       string               `json:"apiKey"`
	DatabaseURL  string               `json:"databaseUrl"`
	RedisURL     string               `json:"redisUrl"`
	KafkaBrokers string               `json:"kafkaBrokers"`
	Topic        string               `json:"topic"`
	Processes    []processDescription `json:"processes"`
}

type processDescription struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	AdminURL string `json:"adminUrl"`
	APIURL   string `json:"apiUrl,omitempty"`
}

// describe writes stack.json, which appears whole or not at all.
func (s *stack) describe() error {
	d := description{
		APIURL: s.apiURLs[0], APIKey: s.apiKey, DatabaseURL: s.parts.DatabaseURL, RedisURL: s.parts.RedisURL,
		KafkaBrokers: s.parts.KafkaBrokers, Topic: s.topic,
	}
	for _, p := range slices.Concat(s.services, s.parts.Processes) {
		pid := p.CurrentPID()
		if p.Name == "postgres" { // what was started is its launcher
			pid = s.postmaster()
		}
		d.Processes = append(d.Processes, processDescription{p.Name, pid, p.AdminURL, s.urls[p.Name]})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(s.state.Dir, "stack.json")
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
