// Package load is clients that send operations and remember what they were told.
package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-faster/jx"
	"github.com/google/uuid"
)

// Load is clients that send operations: 70 % deposits, 30 % withdrawals, and what Mix says instead.
type Load struct {
	APIs        []string // base URLs, which the connections share out
	APIKey      string
	Wallets     []uuid.UUID
	Connections int
	// RatePerSecond is at what times operations are due, whatever the answers to others do (an open
	// loop). 0: each connection sends when its last answer is there (a closed loop).
	RatePerSecond int
	Duration      time.Duration
	WithoutKeys   bool
	Deposits      bool   // only they
	WithdrawUpTo  int64  // 0: as much as deposits, so that few fail
	Zipf          bool   // some wallets get far more than others
	InTurn        bool   // wallets take turns
	Batch         int    // operations of a request, by the batch call; 0: single ones
	Mix           Mix    // of single ones
	Prefer        string // of every request
	// ResendPercent of the acknowledged operations are sent once more, as by a client that lost the
	// answer. A balance is read after readPercent of the requests.
	ResendPercent int
	ReadPercent   int
	// Route says which api a connection that uses one is to use now, as a load balancer does; nil: the
	// same until it fails.
	Route func(api int) int
	// Attempt limits one request, patience all attempts at one operation.
	Attempt, Patience time.Duration

	ended    atomic.Bool
	Start    time.Time
	next     atomic.Int64
	run      string
	Sent     atomic.Int64
	Accepted atomic.Int64
	Failures atomic.Int64
	Refused  atomic.Int64 // answers 503, tried again
	Reads    []time.Duration
	LastFail atomic.Pointer[string]
}

// Operation is what one client knows of one operation.
type Operation struct {
	Wallet   uuid.UUID
	ID       uuid.UUID // nil without an answer and a key
	Kind     string
	Amount   int64     // as asked for; 0: open, or none
	Subject  uuid.UUID // the hold, or the original
	Target   uuid.UUID // the wallet that its money goes to
	Partial  bool      // a CAPTURE that leaves the rest held
	Expires  time.Time // a HOLD's
	Due      time.Time
	SentAt   time.Time // for the first time
	Answered time.Time // zero: never acknowledged
	Sequence int64
	Attempts int
	Wrong    string // an answer that contradicts another one
}

// Send runs the load to its end, or to the end of ctx, and returns what the clients know.
func (l *Load) Send(ctx context.Context) []Operation {
	l.run = uuid.NewString()[:8]
	l.Start = time.Now()
	senders := make([]*sender, l.Connections)
	var clients sync.WaitGroup
	for i := range senders {
		senders[i] = &sender{load: l, api: i % len(l.APIs), client: Client{APIKey: l.APIKey, Prefer: l.Prefer, Timeout: l.Attempt}}
		clients.Go(func() { senders[i].run(ctx, uint64(i)) })
	}
	clients.Wait()
	var all []Operation
	for _, s := range senders {
		all = append(all, s.history...)
		l.Reads = append(l.Reads, s.reads...)
	}
	return all
}

func (s *sender) run(ctx context.Context, number uint64) {
	l := s.load
	random := rand.New(rand.NewPCG(number, uint64(l.Start.UnixNano())))
	zipf := rand.NewZipf(random, 1.1, 1, uint64(len(l.Wallets)-1))
	defer s.client.Close()
	for ctx.Err() == nil && !l.ended.Load() {
		n := l.next.Add(1) - 1
		due := time.Now()
		if l.RatePerSecond > 0 {
			due = l.Start.Add(time.Duration(n) * time.Second / time.Duration(l.RatePerSecond))
		}
		if due.Sub(l.Start) >= l.Duration {
			break
		}
		time.Sleep(time.Until(due))
		if l.Route != nil {
			s.use(l.Route(s.api))
		}
		began := len(s.history)
		for i := range max(1, l.Batch) {
			op := s.operation(random, zipf, n)
			op.Due = due
			if !l.WithoutKeys {
				op.ID = operationID(op.Wallet, l.key(n, i))
			}
			s.history = append(s.history, op)
		}
		s.request(ctx, random, s.history[began:], n)
	}
}

// request sends the n-th request, and what its client does besides.
func (s *sender) request(ctx context.Context, random *rand.Rand, ops []Operation, n int64) {
	l, key := s.load, ""
	if l.Batch > 0 {
		s.writeBatch(ops, n)
	} else {
		s.write(&ops[0])
		if !l.WithoutKeys {
			key = l.key(n, 0)
		}
	}
	s.accept(ctx, ops, key)
	s.remember(ops)
	if l.Batch == 0 && ops[0].Sequence > 0 && random.IntN(100) < l.ResendPercent {
		s.resend(&ops[0], key)
	}
	if random.IntN(100) < l.ReadPercent {
		s.read(ops[0].Wallet)
	}
}

// use makes another api the one that requests go to.
func (s *sender) use(api int) {
	if api != s.api {
		s.client.Close()
		s.api = api
	}
}

// key is what the i-th operation of the n-th request is known by.
func (l *Load) key(n int64, i int) string {
	if l.Batch == 0 {
		return l.run + "-" + strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%s-%d-%d", l.run, n, i)
}

// End lets no more operations begin; those that wait for their answer go on.
func (l *Load) End() { l.ended.Store(true) }

// operationID is the identity that the contract gives an operation with an idempotency key.
func operationID(wallet uuid.UUID, key string) uuid.UUID { return uuid.NewSHA1(wallet, []byte(key)) }

// sender is one connection's client.
type sender struct {
	load    *Load
	client  Client
	api     int
	method  string
	path    string
	body    []byte
	answers []acknowledgement
	holds   []Operation // that are acknowledged, and that it has not captured or released
	undone  []Operation // that it has not reversed
	history []Operation
	reads   []time.Duration
}

// writeBatch makes the body of the batch call.
func (s *sender) writeBatch(ops []Operation, n int64) {
	s.method, s.path = http.MethodPost, "/api/v1/wallet/batch"
	s.body = append(s.body[:0], `{"operations":[`...)
	for i := range ops {
		s.body = append(s.body, '{')
		s.inBody(&ops[i])
		if !s.load.WithoutKeys {
			s.field("idempotencyKey", s.load.key(n, i))
		}
		s.closeBody()
		s.body = append(s.body, ',')
	}
	s.body = append(s.body[:len(s.body)-1], "]}"...)
}

// accept sends operations until they are acknowledged. Without keys there is no second attempt:
// nobody knows what became of the first.
func (s *sender) accept(ctx context.Context, ops []Operation, key string) {
	l := s.load
	sentAt := time.Now()
	l.Sent.Add(int64(len(ops)))
	for attempts := 1; ctx.Err() == nil; attempts++ {
		again, err := s.once(key, len(ops))
		for i := range ops {
			ops[i].SentAt, ops[i].Attempts = sentAt, attempts
		}
		if err == nil {
			answered := time.Now()
			for i := range ops {
				ops[i].Answered, ops[i].Sequence, ops[i].ID = answered, s.answers[i].Sequence, s.answers[i].OperationID
			}
			l.Accepted.Add(int64(len(ops)))
			return
		}
		if !again || l.WithoutKeys || time.Since(sentAt) > l.Patience {
			text := err.Error()
			l.LastFail.Store(&text)
			l.Failures.Add(int64(len(ops)))
			return
		}
		// Another api may be alive; a single one gets a moment to return.
		s.api = (s.api + 1) % len(l.APIs)
		s.client.Close()
		time.Sleep(20 * time.Millisecond)
	}
}

// resend sends an acknowledged operation again: the answer must be about the same operation.
func (s *sender) resend(op *Operation, key string) {
	op.Attempts++
	_, err := s.once(key, 1)
	if err == nil && (s.answers[0].OperationID != op.ID || s.answers[0].Sequence != op.Sequence) {
		op.Wrong = fmt.Sprintf("operation %s, sequence %d, sent again was answered as %s, %d", op.ID, op.Sequence, s.answers[0].OperationID, s.answers[0].Sequence)
	}
}

// read reads a wallet's balance.
func (s *sender) read(wallet uuid.UUID) {
	began := time.Now()
	s.client.Addr = strings.TrimPrefix(s.load.APIs[s.api], "http://")
	r, err := s.client.Do(http.MethodGet, "/api/v1/wallets/"+wallet.String(), "", nil)
	if err == nil && r.Status == http.StatusOK {
		s.reads = append(s.reads, time.Since(began))
		return
	}
	text := fmt.Sprintf("read of a balance: status %d, %v", r.Status, err)
	s.load.LastFail.Store(&text)
	s.load.Failures.Add(1)
}

type acknowledgement struct {
	OperationID uuid.UUID `json:"operationId"`
	Sequence    int64     `json:"sequence"`
}

// once makes one attempt at some operations, whose answers are in s.answers, and says whether another one may help.
func (s *sender) once(key string, operations int) (again bool, err error) {
	s.client.Addr = strings.TrimPrefix(s.load.APIs[s.api], "http://")
	r, err := s.client.Do(s.method, s.path, key, s.body)
	if err != nil {
		return true, err
	}
	if r.Status == http.StatusServiceUnavailable {
		s.load.Refused.Add(1)
	}
	if r.Status != http.StatusAccepted && r.Status != http.StatusOK {
		return r.Status == http.StatusTooManyRequests || r.Status >= 500, fmt.Errorf("status %d: %s", r.Status, r.Body)
	}
	if s.load.Batch == 0 {
		s.answers = append(s.answers[:0], acknowledgement{})
		return false, s.answers[0].read(r.Body)
	}
	var answer struct {
		Items []acknowledgement `json:"items"`
	}
	if err := json.Unmarshal(r.Body, &answer); err != nil {
		return false, err
	}
	s.answers = answer.Items
	if len(s.answers) != operations || slices.ContainsFunc(s.answers, func(a acknowledgement) bool { return a.Sequence == 0 }) {
		return true, fmt.Errorf("a batch is not accepted whole: %.300s", r.Body)
	}
	return false, nil
}

// read picks the two fields out of an answer: decoding all of it is most of what a client costs.
func (a *acknowledgement) read(body []byte) error {
	return jx.DecodeBytes(body).ObjBytes(func(d *jx.Decoder, key []byte) (err error) {
		switch string(key) {
		case "operationId":
			var text []byte
			if text, err = d.StrBytes(); err == nil {
				a.OperationID, err = uuid.ParseBytes(text)
			}
		case "sequence":
			a.Sequence, err = d.Int64()
		default:
			err = d.Skip()
		}
		return err
	})
}

// OpenWallets opens wallets over HTTP, many at a time.
func OpenWallets(api, apiKey string, count int) ([]uuid.UUID, error) {
	return OpenWalletsIn("", api, apiKey, count)
}

// OpenWalletsIn opens them in a cell; empty: in whichever the proxy chooses.
func OpenWalletsIn(cell, api, apiKey string, count int) ([]uuid.UUID, error) {
	wallets := make([]uuid.UUID, count)
	connections := min(count, 32)
	errs := make([]error, connections)
	var clients sync.WaitGroup
	for i := range connections {
		clients.Go(func() {
			c := Client{Addr: strings.TrimPrefix(api, "http://"), APIKey: apiKey, Cell: cell, Timeout: 10 * time.Second}
			defer c.Close()
			for n := i; n < count && errs[i] == nil; n += connections {
				wallets[n], errs[i] = openWallet(&c)
			}
		})
	}
	clients.Wait()
	return wallets, errors.Join(errs...)
}

func openWallet(c *Client) (uuid.UUID, error) {
	var r response
	var err error
	key := uuid.NewString()
	for range 3 {
		if r, err = c.Do(http.MethodPost, "/api/v1/wallets", key, []byte("{}")); err == nil {
			break
		}
	}
	if err != nil {
		return uuid.Nil, fmt.Errorf("open a wallet: %w", err)
	}
	var wallet struct {
		WalletID uuid.UUID `json:"walletId"`
	}
	if r.Status != http.StatusCreated && r.Status != http.StatusOK {
		return uuid.Nil, fmt.Errorf("open a wallet: status %d: %s", r.Status, r.Body)
	}
	if err := json.Unmarshal(r.Body, &wallet); err != nil {
		return uuid.Nil, fmt.Errorf("open a wallet: %w", err)
	}
	return wallet.WalletID, nil
}
