//go:build e2e

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// A program that knows nothing but asyncapi.yaml keeps the balances of all wallets through 50 faults. It is killed, too, and while
// the topic is not registered it has to read what is missing.
func TestAConsumerWrittenFromAsyncAPIAloneKeepsBalances(t *testing.T) {
	const faults, seed = 50, 1
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	source := eventsConsumer(t, root)
	s := newSystem(t, stack.Config{APIs: 2, Relays: 2, Workers: 2})
	s.EventGaps = true
	source.env = append(source.env, "API_URL="+s.APIURLs[0], "API_KEY="+s.APIKey, "KAFKA_BROKERS="+s.Backing.KafkaBrokers, "EVENTS_TOPIC="+s.EventsTopic)
	wallets := s.OpenWallets(10)
	c := startConsumer(t, source)
	random := rand.New(rand.NewPCG(seed, 0))
	l := s.MixedLoad(load.EveryType, wallets)
	for n := range faults {
		switch kind := random.IntN(5); kind {
		case 3:
			c.kill()
			c = startConsumer(t, source)
		case 4:
			s.registerEvents(t, false)
			s.UntilApplied(time.Minute)
			s.registerEvents(t, true)
		default:
			replicas := s.Replicas([]string{"api", "relay", "worker"}[kind])
			s.Kill(replicas[random.IntN(len(replicas))], syscall.SIGKILL)
		}
		s.UntilApplied(time.Minute)
		if t.Failed() {
			t.Fatalf("after fault %d", n+1)
		}
	}
	// What was not told while the topic was off shows by the next event.
	s.Until("the workers tell of outcomes again", time.Minute, func() bool {
		return !slices.ContainsFunc(s.Replicas("worker"), func(p *proc.Process) bool {
			r, err := stack.AskReady(t.Context(), p)
			return err != nil || len(r.Degraded) > 0
		})
	})
	var last []load.Operation
	for _, id := range wallets {
		last = append(last, s.Deposit(s.APIURLs[0], id))
	}
	s.Keep(l, last...)
	var differ string
	// It reads each change again when it has been killed: on a machine that is busy with more than this, that takes minutes.
	if !proc.Await(t.Context(), 5*time.Minute, func() bool { differ = c.differs(t, s.Conn, wallets); return differ == "" }) {
		t.Errorf("%s\n%s", differ, proc.LastLines(c.log, 15))
	}
}

// registerEvents registers the topic of events, or ends that: the workers tell nothing then.
func (s *system) registerEvents(t *testing.T, registered bool) {
	t.Helper()
	statement := "DELETE FROM outbox_topics WHERE topic = $1 AND $2 > 0"
	if registered {
		statement = "INSERT INTO outbox_topics (topic, partitions) VALUES ($1, $2)"
	}
	if _, err := s.Conn.Exec(t.Context(), statement, s.EventsTopic, stack.TopicPartitions); err != nil {
		t.Fatal(err)
	}
}

// eventsConsumer is local/clients/events, with the types that are generated from asyncapi.yaml.
func eventsConsumer(t *testing.T, root string) *clientSource {
	source := copyClient(t, root, "events", "consumer.py", "requirements.txt")
	python := source.pythonWith("requirements.txt")
	source.run(python, "-m", "datamodel_code_generator", "--input", filepath.Join(root, "asyncapi.yaml"), "--input-file-type", "asyncapi",
		"--output", "events.py", "--output-model-type", "pydantic_v2.BaseModel", "--target-python-version", "3.11", "--use-annotated", "--formatters", "builtin")
	source.run(python, "-m", "mypy", "--strict", "consumer.py", "events.py")
	source.program = []string{python, "consumer.py"}
	return source
}

// consumer is the program while it runs, and what it has said last of each wallet.
type consumer struct {
	kill  func()
	log   string
	mu    sync.Mutex
	knows map[uuid.UUID]balance
}

type balance struct{ version, balance, held int64 }

func startConsumer(t *testing.T, source *clientSource) *consumer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := proc.CommandIn(ctx, source.program[0], source.program[1:]...)
	cmd.Dir, cmd.Env = source.dir, append(os.Environ(), source.env...)
	c := &consumer{log: filepath.Join(source.dir, "consumer.log"), knows: map[uuid.UUID]balance{}}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.read(t, said)
	}()
	c.kill = sync.OnceFunc(func() {
		cancel() // kills it
		<-read
		_ = cmd.Wait()
		_ = log.Close()
	})
	t.Cleanup(c.kill)
	return c
}

// read sees that no balance goes back, and that each operation was taken once.
func (c *consumer) read(t *testing.T, said io.Reader) {
	first := map[uuid.UUID]int64{}
	for lines := bufio.NewReader(said); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return // half a line is all that may be left of one that was killed
		}
		var id string
		var b balance
		var taken int64
		if _, err := fmt.Sscan(line, &id, &b.version, &b.balance, &b.held, &taken); err != nil {
			t.Errorf("it says %q", line)
			return
		}
		wallet, err := uuid.Parse(id)
		if err != nil {
			t.Errorf("it says %q", line)
			return
		}
		c.mu.Lock()
		before, known := c.knows[wallet]
		c.knows[wallet] = b
		c.mu.Unlock()
		if !known {
			first[wallet] = b.version - taken
		}
		if known && b.version <= before.version || b.version-taken != first[wallet] {
			t.Errorf("%s after version %d", line, before.version)
		}
	}
}

// differs is what it knows otherwise than Postgres, if anything.
func (c *consumer) differs(t *testing.T, conn *pgx.Conn, wallets []uuid.UUID) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT id, applied_seq, balance, held FROM wallets WHERE id = ANY ($1) AND applied_seq > 0", wallets)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	differ := ""
	var id uuid.UUID
	var b balance
	if _, err := pgx.ForEachRow(rows, []any{&id, &b.version, &b.balance, &b.held}, func() error {
		if c.knows[id] != b {
			differ = fmt.Sprintf("of wallet %s it knows %+v, stored is %+v", id, c.knows[id], b)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return differ
}
