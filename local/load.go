package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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
	// resendPercent of the acknowledged operations are sent once more, as by a client that lost the
	// answer.
	resendPercent int
	// attempt limits one request, patience all attempts at one operation.
	attempt, patience time.Duration

	ended    atomic.Bool
	start    time.Time
	next     atomic.Int64
	run      string
	sent     atomic.Int64
	accepted atomic.Int64
	failures atomic.Int64
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
	histories := make([][]operation, l.connections)
	var clients sync.WaitGroup
	for i := range l.connections {
		clients.Go(func() { histories[i] = l.connection(ctx, i) })
	}
	clients.Wait()
	var all []operation
	for _, history := range histories {
		all = append(all, history...)
	}
	return all
}

func (l *load) connection(ctx context.Context, number int) []operation {
	random := rand.New(rand.NewPCG(uint64(number), uint64(l.start.UnixNano())))
	sender := &sender{load: l, api: number % len(l.apis), client: client{apiKey: l.apiKey, timeout: l.attempt}}
	defer sender.client.close()
	var history []operation
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
		op := operation{wallet: l.wallets[random.IntN(len(l.wallets))], kind: "DEPOSIT", amount: 1 + random.Int64N(1000), due: due}
		if random.IntN(10) < 3 {
			op.kind = "WITHDRAW"
		}
		key := ""
		if !l.withoutKeys {
			key = l.run + "-" + strconv.FormatInt(n, 10)
			op.id = operationID(op.wallet, key)
		}
		sender.accept(ctx, &op, key)
		if op.sequence > 0 && random.IntN(100) < l.resendPercent {
			sender.resend(&op, key)
		}
		history = append(history, op)
	}
	return history
}

// end lets no more operations begin; those that wait for their answer go on.
func (l *load) end() { l.ended.Store(true) }

// operationID is the identity that the contract gives an operation with an idempotency key.
func operationID(wallet uuid.UUID, key string) uuid.UUID { return uuid.NewSHA1(wallet, []byte(key)) }

// sender is one connection's client.
type sender struct {
	load   *load
	client client
	api    int
	body   []byte
}

// accept sends an operation until it is acknowledged. Without a key there is no second attempt:
// nobody knows what became of the first.
func (s *sender) accept(ctx context.Context, op *operation, key string) {
	l := s.load
	s.body = fmt.Appendf(s.body[:0], `{"walletId":"%s","operationType":"%s","amount":%d}`, op.wallet, op.kind, op.amount)
	op.sentAt = time.Now()
	l.sent.Add(1)
	for ctx.Err() == nil {
		op.attempts++
		answer, again, err := s.once(key)
		if err == nil {
			op.answered = time.Now()
			op.sequence, op.id = answer.Sequence, answer.OperationID
			l.accepted.Add(1)
			return
		}
		if !again || key == "" || time.Since(op.sentAt) > l.patience {
			text := err.Error()
			l.lastFail.Store(&text)
			l.failures.Add(1)
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
	answer, _, err := s.once(key)
	if err == nil && (answer.OperationID != op.id || answer.Sequence != op.sequence) {
		op.wrong = fmt.Sprintf("operation %s, sequence %d, sent again was answered as %s, %d", op.id, op.sequence, answer.OperationID, answer.Sequence)
	}
}

type acknowledgement struct {
	OperationID uuid.UUID `json:"operationId"`
	Sequence    int64     `json:"sequence"`
}

// once makes one attempt and says whether another one may help.
func (s *sender) once(key string) (answer acknowledgement, again bool, err error) {
	s.client.addr = strings.TrimPrefix(s.load.apis[s.api], "http://")
	r, err := s.client.do(http.MethodPost, "/api/v1/wallet", key, s.body)
	if err != nil {
		return answer, true, err
	}
	if r.status != http.StatusAccepted && r.status != http.StatusOK {
		return answer, r.status == http.StatusTooManyRequests || r.status >= 500, fmt.Errorf("status %d: %s", r.status, r.body)
	}
	err = json.Unmarshal(r.body, &answer)
	return answer, false, err
}

// openWallets opens wallets over HTTP.
func openWallets(api, apiKey string, count int) ([]uuid.UUID, error) {
	c := client{addr: strings.TrimPrefix(api, "http://"), apiKey: apiKey, timeout: 10 * time.Second}
	defer c.close()
	wallets := make([]uuid.UUID, count)
	for i := range wallets {
		r, err := c.do(http.MethodPost, "/api/v1/wallets", "", []byte("{}"))
		if err != nil {
			return nil, fmt.Errorf("open a wallet: %w", err)
		}
		var wallet struct {
			WalletID uuid.UUID `json:"walletId"`
		}
		if r.status != http.StatusCreated {
			return nil, fmt.Errorf("open a wallet: status %d: %s", r.status, r.body)
		}
		if err := json.Unmarshal(r.body, &wallet); err != nil {
			return nil, fmt.Errorf("open a wallet: %w", err)
		}
		wallets[i] = wallet.WalletID
	}
	return wallets, nil
}
