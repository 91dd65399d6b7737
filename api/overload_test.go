package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

var overloadTime = flag.Duration("overload", 0, "measure overload at about 1,000 operations/s for this long, with the api as it is shipped")

const (
	overConnections = 100 // beyond those whose requests wait: for refusals
	connectionKiB   = 48  // about what net/http needs for one: buffers and two stacks
)

// overload is how much the api can accept, which a slow way to Postgres and small flushes keep down.
type overload struct {
	delay  time.Duration // of everything on its way to Postgres; a flush makes two such ways
	flush  int           // operations
	room   int           // operations
	batch  int           // operations of a request
	during time.Duration
	// leastGoodput is a part of the peak, slack what a p99 may add to the time that a full queue takes.
	leastGoodput float64
	slack        time.Duration
	mostMiB      float64 // besides connectionKiB for each connection
	rounds       int     // to try, for one in which nothing else kept the machine busy
}

// With five times of what it can accept offered, the api accepts as much as ever, what it accepts does
// not wait longer than the queue's bound implies, and the rest is told at once to come back.
//
//	go test ./api -run TestOverload -overload 10s -v
//
// measures it at about 1,000 operations/s. Without -overload it is small, and as exact as a machine that
// is busy with other tests and the race detector allow.
func TestOverloadIsRefusedAndCostsNoGoodput(t *testing.T) {
	if *overloadTime == 0 {
		t.Parallel()
	}
	for name, o := range map[string]overload{
		"operations": {delay: 100 * time.Millisecond, flush: 16, room: 64, batch: 1},
		"batches":    {delay: 100 * time.Millisecond, flush: 50, room: 100, batch: 50},
	} {
		t.Run(name, func(t *testing.T) {
			var program string
			var err error
			o.during, o.leastGoodput, o.slack, o.mostMiB, o.rounds = 4*time.Second, 0.8, time.Second, 1024, 10
			if *overloadTime > 0 {
				o.delay, o.flush, o.room = 30*time.Millisecond, 65, 1000
				if o.batch > 1 {
					o.batch, o.room = 1000, 2000 // one that is accepted and one that waits
				}
				o.during, o.leastGoodput, o.slack, o.mostMiB, o.rounds = *overloadTime, 0.9, 100*time.Millisecond, 64, 1
				program, err = build(t.TempDir())
			} else {
				t.Parallel()
				program, err = binary()
			}
			if err != nil {
				t.Fatal(err)
			}
			o.measure(t, program)
		})
	}
}

func (o overload) measure(t *testing.T, program string) {
	database := testdb.New(t)
	a := launchProgram(t, program, slowProxyURL(t, database.As(testdb.API), o.delay), "FLUSH_MAX="+strconv.Itoa(o.flush), "QUEUE_MAX_OPERATIONS="+strconv.Itoa(o.room))
	a.listening(t)
	var wallets []uuid.UUID
	for range 10 {
		wallets = append(wallets, a.newWallet(t))
	}
	var told int64
	for round := 1; ; round++ {
		stored, faults := o.round(t, a, wallets)
		told += stored
		if len(faults) == 0 {
			break
		}
		if round == o.rounds {
			t.Error(strings.Join(faults, "; "))
			break
		}
	}
	connections := o.room/o.batch + int(o.most())/o.batch + overConnections
	if memory, most := a.mostMemoryMiB(t), o.mostMiB+float64(connections)*connectionKiB/1024; memory > most {
		t.Errorf("%.0f MiB of memory, %d connections may take %.0f", memory, connections, most)
	}
	var stored int64
	if err := database.Conn(t).QueryRow(t.Context(), "SELECT count(*) FROM operations").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if stored != told {
		t.Errorf("%d operations are stored, clients were told of %d", stored, told)
	}
}

// most is how many operations a second can be accepted if Postgres and the machine take no time at all.
func (o overload) most() float64 { return float64(o.flush) / (2 * o.delay).Seconds() }

// round offers what can be accepted and then five times that. It returns how many operations clients
// were told of, and what was not as it is to be.
func (o overload) round(t *testing.T, a *api, wallets []uuid.UUID) (stored int64, faults []string) {
	// As many clients as fill the queue, each as fast as it is answered, reach the peak.
	peak := o.offer(t, a, wallets, o.room/o.batch, 0)
	perSec := float64(peak.inTime) / o.during.Seconds()
	most := o.most()
	over := o.offer(t, a, wallets, o.room/o.batch+int(most)/o.batch+overConnections, 5*most)
	goodput := float64(over.inTime) / o.during.Seconds()
	full := time.Duration(float64(o.room+o.flush) / goodput * float64(time.Second))
	if len(over.took) == 0 || len(over.refusals) == 0 {
		t.Fatalf("%d accepted, %d refused", len(over.took), len(over.refusals))
	}
	p50, p99, refusal := percentile(over.took, 50), percentile(over.took, 99), percentile(over.refusals, 99)
	t.Logf("peak %.0f/s; %.0f/s offered: goodput %.0f/s (%.2f of the peak), accepted in p50 %v p99 %v (a full queue takes %v), %d requests refused in p99 %v, memory %.0f MiB",
		perSec, 5*most, goodput, goodput/perSec, p50, p99, full, len(over.refusals), refusal, a.mostMemoryMiB(t))
	if goodput < o.leastGoodput*perSec {
		faults = append(faults, fmt.Sprintf("goodput fell from %.0f/s to %.0f/s", perSec, goodput))
	}
	if p99 > full+o.slack {
		faults = append(faults, fmt.Sprintf("p99 of what was accepted is %v", p99))
	}
	if len(over.refusals) < 2*len(over.took) {
		faults = append(faults, fmt.Sprintf("%d refused, %d accepted", len(over.refusals), len(over.took)))
	}
	return peak.stored + over.stored, faults
}

// offered is what became of requests.
type offered struct {
	mu       sync.Mutex
	took     []time.Duration // of those accepted, from when they were due
	refusals []time.Duration // of the others
	inTime   int64           // operations accepted while the load lasted
	stored   int64           // operations accepted
}

// offer sends requests at a rate, whatever becomes of the others (an open loop), over so many
// connections; or on each as fast as it is answered, if the rate is 0.
func (o overload) offer(t *testing.T, a *api, wallets []uuid.UUID, connections int, perSec float64) *offered {
	t.Helper()
	result := &offered{}
	var clients sync.WaitGroup
	var next atomic.Int64
	start := time.Now()
	end := start.Add(o.during)
	for range connections {
		clients.Go(func() {
			l := &line{addr: strings.TrimPrefix(a.url, "http://")}
			defer l.close()
			for {
				n := next.Add(1) - 1
				due := time.Now()
				if perSec > 0 {
					due = start.Add(time.Duration(float64(n) * float64(o.batch) / perSec * float64(time.Second)))
				}
				if !due.Before(end) {
					return
				}
				time.Sleep(time.Until(due))
				if err := l.send(o.request(wallets, int(n))); err != nil {
					t.Error(err)
					return
				}
				result.add(t, l, due, end)
			}
		})
	}
	clients.Wait()
	return result
}

// request is an operation or a batch.
func (o overload) request(wallets []uuid.UUID, n int) (path, body string) {
	if o.batch == 1 {
		return operationsPath, depositBody(wallets[n%len(wallets)], 1)
	}
	items := make([]string, o.batch)
	for i := range items {
		items[i] = depositBody(wallets[i%len(wallets)], 1)
	}
	return batchPath, `{"operations":[` + strings.Join(items, ",") + `]}`
}

func (o *offered) add(t *testing.T, l *line, due, end time.Time) {
	now := time.Now()
	took := now.Sub(due)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case l.status == http.StatusAccepted || l.status == http.StatusOK:
		operations := int64(max(1, strings.Count(l.body, `"sequence":`)))
		o.stored += operations
		if now.Before(end) {
			o.inTime += operations
		}
		o.took = append(o.took, took)
	case l.status == http.StatusServiceUnavailable && strings.Contains(l.body, `"code":"overloaded"`) && l.retryAfter:
		o.refusals = append(o.refusals, took)
	default:
		t.Errorf("%d %s", l.status, l.body)
	}
}

// line is a connection that costs little, so that what is measured is the api.
type line struct {
	addr string
	conn net.Conn // nil before the first request
	in   *bufio.Reader

	status     int
	retryAfter bool
	body       string
}

func (l *line) send(path, body string) error {
	if l.conn == nil {
		conn, err := net.Dial("tcp", l.addr)
		if err != nil {
			return err
		}
		l.conn, l.in = conn, bufio.NewReader(conn)
	}
	_, err := fmt.Fprintf(l.conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, l.addr, len(body), body)
	if err != nil {
		return err
	}
	response, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(response.Body)
	l.status, l.retryAfter, l.body = response.StatusCode, response.Header.Get("Retry-After") != "", string(text)
	return err
}

func (l *line) close() {
	if l.conn != nil {
		_ = l.conn.Close()
	}
}
