package main

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

// load is clients that send operations: 70 % deposits, 30 % withdrawals.
type load struct {
	apis        []string // base URLs, which the connections share out
	apiKey      string
	wallets     []uuid.UUID
	connections int
	// ratePerSecond is at what times operations are due, whatever the answers to others do (an open
	// loop). 0: each connection sends when its last answer is there (a closed loop).
	ratePerSecond int
	duration      time.Duration
	withoutKeys   bool
	withdrawUpTo  int64  // 0: as much as deposits, so that few fail
	zipf          bool   // some wallets get far more than others
	inTurn        bool   // wallets take turns
	batch         int    // operations of a request, by the batch call; 0: single ones
	prefer        string // of every request
	// resendPercent of the acknowledged operations are sent once more, as by a client that lost the
	// answer. A balance is read after readPercent of the requests.
	resendPercent int
	readPercent   int
	// route says which api a connection that uses one is to use now, as a load balancer does; nil: the
	// same until it fails.
	route func(api int) int
	// attempt limits one request, patience all attempts at one operation.
	attempt, patience time.Duration

	ended    atomic.Bool
	start    time.Time
	next     atomic.Int64
	run      string
	sent     atomic.Int64
	accepted atomic.Int64
	failures atomic.Int64
	refused  atomic.Int64 // answers 503, tried again
	reads    []time.Duration
	lastFail atomic.Pointer[string]
}

// operation is what one client knows of one operation.
type operation struct {
	wallet   uuid.UUID
	id       uuid.UUID // nil without an answer and a key
	kind     string
	amount   int64
	due      time.Time
	sentAt   time.Time // for the first time
	answered time.Time // zero: never acknowledged
	sequence int64
	attempts int
	wrong    string // an answer that contradicts another one
}

// send runs the load to its end, or to the end of ctx, and returns what the clients know.
func (l *load) send(ctx context.Context) []operation {
	l.run = uuid.NewString()[:8]
	l.start = time.Now()
	senders := make([]*sender, l.connections)
	var clients sync.WaitGroup
	for i := range senders {
		senders[i] = &sender{load: l, api: i % len(l.apis), client: client{apiKey: l.apiKey, prefer: l.prefer, timeout: l.attempt}}
		clients.Go(func() { senders[i].run(ctx, uint64(i)) })
	}
	clients.Wait()
	var all []operation
	for _, s := range senders {
		all = append(all, s.history...)
		l.reads = append(l.reads, s.reads...)
	}
	return all
}

func (s *sender) run(ctx context.Context, number uint64) {
	l := s.load
	random := rand.New(rand.NewPCG(number, uint64(l.start.UnixNano())))
	zipf := rand.NewZipf(random, 1.1, 1, uint64(len(l.wallets)-1))
	defer s.client.close()
	for ctx.Err() == nil && !l.ended.Load() {
		n := l.next.Add(1) - 1
		due := time.Now()
		if l.ratePerSecond > 0 {
			due = l.start.Add(time.Duration(n) * time.Second / time.Duration(l.ratePerSecond))
		}
		if due.Sub(l.start) >= l.duration {
			break
		}
		time.Sleep(time.Until(due))
		if l.route != nil {
			s.use(l.route(s.api))
		}
		began := len(s.history)
		for i := range max(1, l.batch) {
			op := operation{kind: "DEPOSIT", amount: 1 + random.Int64N(1000), due: due}
			switch {
			case l.inTurn:
				op.wallet = l.wallets[n%int64(len(l.wallets))]
			case l.zipf:
				op.wallet = l.wallets[zipf.Uint64()]
			default:
				op.wallet = l.wallets[random.IntN(len(l.wallets))]
			}
			if random.IntN(10) < 3 {
				op.kind = "WITHDRAW"
				if l.withdrawUpTo > 0 {
					op.amount = 1 + random.Int64N(l.withdrawUpTo)
				}
			}
			if !l.withoutKeys {
				op.id = operationID(op.wallet, l.key(n, i))
			}
			s.history = append(s.history, op)
		}
		ops := s.history[began:]
		key := ""
		if l.batch > 0 {
			s.writeBatch(ops, n)
		} else {
			s.body = appendOperation(s.body[:0], &ops[0])
			if !l.withoutKeys {
				key = l.key(n, 0)
			}
		}
		s.accept(ctx, ops, key)
		if l.batch == 0 && ops[0].sequence > 0 && random.IntN(100) < l.resendPercent {
			s.resend(&ops[0], key)
		}
		if random.IntN(100) < l.readPercent {
			s.read(ops[0].wallet)
		}
	}
}

// use makes another api the one that requests go to.
func (s *sender) use(api int) {
	if api != s.api {
		s.client.close()
		s.api = api
	}
}

// key is what the i-th operation of the n-th request is known by.
func (l *load) key(n int64, i int) string {
	if l.batch == 0 {
		return l.run + "-" + strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%s-%d-%d", l.run, n, i)
}

// end lets no more operations begin; those that wait for their answer go on.
func (l *load) end() { l.ended.Store(true) }

// operationID is the identity that the contract gives an operation with an idempotency key.
func operationID(wallet uuid.UUID, key string) uuid.UUID { return uuid.NewSHA1(wallet, []byte(key)) }

// sender is one connection's client.
type sender struct {
	load    *load
	client  client
	api     int
	body    []byte
	answers []acknowledgement
	history []operation
	reads   []time.Duration
}

func appendOperation(to []byte, op *operation) []byte {
	to = append(append(to, `{"walletId":"`...), op.wallet.String()...)
	to = append(append(to, `","operationType":"`...), op.kind...)
	return append(strconv.AppendInt(append(to, `","amount":`...), op.amount, 10), '}')
}

// writeBatch makes the body of the batch call.
func (s *sender) writeBatch(ops []operation, n int64) {
	s.body = append(s.body[:0], `{"operations":[`...)
	for i := range ops {
		s.body = appendOperation(s.body, &ops[i])
		if !s.load.withoutKeys {
			s.body = fmt.Appendf(s.body[:len(s.body)-1], `,"idempotencyKey":"%s"}`, s.load.key(n, i))
		}
		s.body = append(s.body, ',')
	}
	s.body = append(s.body[:len(s.body)-1], "]}"...)
}

// accept sends operations until they are acknowledged. Without keys there is no second attempt:
// nobody knows what became of the first.
func (s *sender) accept(ctx context.Context, ops []operation, key string) {
	l := s.load
	sentAt := time.Now()
	l.sent.Add(int64(len(ops)))
	for attempts := 1; ctx.Err() == nil; attempts++ {
		again, err := s.once(key)
		for i := range ops {
			ops[i].sentAt, ops[i].attempts = sentAt, attempts
		}
		if err == nil {
			answered := time.Now()
			for i := range ops {
				ops[i].answered, ops[i].sequence, ops[i].id = answered, s.answers[i].Sequence, s.answers[i].OperationID
			}
			l.accepted.Add(int64(len(ops)))
			return
		}
		if !again || l.withoutKeys || time.Since(sentAt) > l.patience {
			text := err.Error()
			l.lastFail.Store(&text)
			l.failures.Add(int64(len(ops)))
			return
		}
		// Another api may be alive; a single one gets a moment to return.
		s.api = (s.api + 1) % len(l.apis)
		s.client.close()
		time.Sleep(20 * time.Millisecond)
	}
}

// resend sends an acknowledged operation again: the answer must be about the same operation.
func (s *sender) resend(op *operation, key string) {
	op.attempts++
	_, err := s.once(key)
	if err == nil && (s.answers[0].OperationID != op.id || s.answers[0].Sequence != op.sequence) {
		op.wrong = fmt.Sprintf("operation %s, sequence %d, sent again was answered as %s, %d", op.id, op.sequence, s.answers[0].OperationID, s.answers[0].Sequence)
	}
}

// read reads a wallet's balance.
func (s *sender) read(wallet uuid.UUID) {
	began := time.Now()
	s.client.addr = strings.TrimPrefix(s.load.apis[s.api], "http://")
	r, err := s.client.do(http.MethodGet, "/api/v1/wallets/"+wallet.String(), "", nil)
	if err == nil && r.status == http.StatusOK {
		s.reads = append(s.reads, time.Since(began))
		return
	}
	text := fmt.Sprintf("read of a balance: status %d, %v", r.status, err)
	s.load.lastFail.Store(&text)
	s.load.failures.Add(1)
}

type acknowledgement struct {
	OperationID uuid.UUID `json:"operationId"`
	Sequence    int64     `json:"sequence"`
}

// once makes one attempt, whose answers are in s.answers, and says whether another one may help.
func (s *sender) once(key string) (again bool, err error) {
	s.client.addr = strings.TrimPrefix(s.load.apis[s.api], "http://")
	path := "/api/v1/wallet"
	if s.load.batch > 0 {
		path = "/api/v1/wallet/batch"
	}
	r, err := s.client.do(http.MethodPost, path, key, s.body)
	if err != nil {
		return true, err
	}
	if r.status == http.StatusServiceUnavailable {
		s.load.refused.Add(1)
	}
	if r.status != http.StatusAccepted && r.status != http.StatusOK {
		return r.status == http.StatusTooManyRequests || r.status >= 500, fmt.Errorf("status %d: %s", r.status, r.body)
	}
	if s.load.batch == 0 {
		s.answers = append(s.answers[:0], acknowledgement{})
		return false, s.answers[0].read(r.body)
	}
	var answer struct {
		Items []acknowledgement `json:"items"`
	}
	if err := json.Unmarshal(r.body, &answer); err != nil {
		return false, err
	}
	s.answers = answer.Items
	if len(s.answers) != s.load.batch || slices.ContainsFunc(s.answers, func(a acknowledgement) bool { return a.Sequence == 0 }) {
		return true, fmt.Errorf("a batch is not accepted whole: %.300s", r.body)
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

// openWallets opens wallets over HTTP, many at a time.
func openWallets(api, apiKey string, count int) ([]uuid.UUID, error) {
	wallets := make([]uuid.UUID, count)
	connections := min(count, 32)
	errs := make([]error, connections)
	var clients sync.WaitGroup
	for i := range connections {
		clients.Go(func() {
			c := client{addr: strings.TrimPrefix(api, "http://"), apiKey: apiKey, timeout: 10 * time.Second}
			defer c.close()
			for n := i; n < count && errs[i] == nil; n += connections {
				wallets[n], errs[i] = openWallet(&c)
			}
		})
	}
	clients.Wait()
	return wallets, errors.Join(errs...)
}

func openWallet(c *client) (uuid.UUID, error) {
	r, err := c.do(http.MethodPost, "/api/v1/wallets", "", []byte("{}"))
	if err != nil {
		return uuid.Nil, fmt.Errorf("open a wallet: %w", err)
	}
	var wallet struct {
		WalletID uuid.UUID `json:"walletId"`
	}
	if r.status != http.StatusCreated {
		return uuid.Nil, fmt.Errorf("open a wallet: status %d: %s", r.status, r.body)
	}
	if err := json.Unmarshal(r.body, &wallet); err != nil {
		return uuid.Nil, fmt.Errorf("open a wallet: %w", err)
	}
	return wallet.WalletID, nil
}
