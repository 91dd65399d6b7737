package load

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Mix is what part of the operations, in percent, is neither a deposit nor a withdrawal. A client captures and
// releases the holds that it has made, and reverses its own operations, once they are acknowledged: while it
// has none it deposits instead.
type Mix struct {
	Holds     int
	Captures  int // half of them take a part, and a third goes to another wallet
	Releases  int
	Reversals int
	Transfers int // from one of the wallets to another
	// Expiring is what part of the holds expires after a second or two. Nobody captures them in time.
	Expiring int
	// Pairs makes each hold captured by the client's next operation.
	Pairs bool
	// Targets are the wallets that transfers go to; none: those of the load.
	Targets []uuid.UUID
	// Refusing are wallets that receive nothing, and to which every tenth transfer goes nevertheless.
	Refusing []uuid.UUID
}

// EveryType is a mix of all that the system knows.
var EveryType = Mix{Holds: 10, Captures: 7, Releases: 1, Reversals: 4, Transfers: 15, Expiring: 20}

func (m Mix) empty() bool { return m.Holds+m.Captures+m.Releases+m.Reversals+m.Transfers == 0 }

// remembered bounds what a client remembers of its operations.
const remembered = 100

// operation chooses one of the n-th request.
func (s *sender) operation(random *rand.Rand, zipf *rand.Zipf, n int64) Operation {
	l := s.load
	op := Operation{Kind: "DEPOSIT", Amount: 1 + random.Int64N(1000)}
	wallet := func() uuid.UUID {
		switch {
		case l.InTurn:
			return l.Wallets[n%int64(len(l.Wallets))]
		case l.Zipf:
			return l.Wallets[zipf.Uint64()]
		}
		return l.Wallets[random.IntN(len(l.Wallets))]
	}
	op.Wallet = wallet()
	if !l.Mix.empty() && s.mixed(&op, random, wallet) {
		return op
	}
	if !l.Deposits && random.IntN(10) < 3 {
		op.Kind = "WITHDRAW"
		if l.WithdrawUpTo > 0 {
			op.Amount = 1 + random.Int64N(l.WithdrawUpTo)
		}
	}
	return op
}

// mixed makes it one of the mix, or reports false.
func (s *sender) mixed(op *Operation, random *rand.Rand, wallet func() uuid.UUID) bool {
	mix, chosen := s.load.Mix, random.IntN(100)
	is := func(percent int) bool { chosen -= percent; return chosen < 0 }
	switch {
	case mix.Pairs && take(&s.holds, op, random):
		op.Kind, op.Amount = "CAPTURE", 0
		return true
	case is(mix.Holds):
		op.Kind = "HOLD"
		if random.IntN(100) < mix.Expiring {
			op.Expires = time.Now().Add(time.Second + time.Duration(random.IntN(1000))*time.Millisecond).UTC().Truncate(time.Microsecond)
		}
		return true
	case is(mix.Captures):
		if !take(&s.holds, op, random) {
			return false
		}
		op.Kind, op.Amount = "CAPTURE", 0
		if random.IntN(2) == 0 {
			op.Amount, op.Partial = 1+random.Int64N(500), random.IntN(2) == 0
		}
		if other := wallet(); random.IntN(3) == 0 && other != op.Wallet {
			op.Target = other
		}
		return true
	case is(mix.Releases):
		if !take(&s.holds, op, random) {
			return false
		}
		op.Kind, op.Amount = "RELEASE", 0
		return true
	case is(mix.Reversals):
		if !take(&s.undone, op, random) {
			return false
		}
		if op.Kind, op.Amount = "REVERSE", 0; random.IntN(2) == 0 {
			op.Amount = 1 + random.Int64N(500)
		}
		return true
	case is(mix.Transfers):
		to := wallet()
		if n := len(mix.Targets); n > 0 {
			to = mix.Targets[random.IntN(n)]
		}
		if n := len(mix.Refusing); n > 0 && random.IntN(10) == 0 {
			to = mix.Refusing[random.IntN(n)]
		}
		if to == op.Wallet {
			return false
		}
		op.Kind, op.Target = "TRANSFER", to
		return true
	}
	return false
}

// take makes one of the remembered operations what op refers to, and forgets it.
func take(from *[]Operation, op *Operation, random *rand.Rand) bool {
	n := len(*from)
	if n == 0 {
		return false
	}
	i := random.IntN(n)
	op.Wallet, op.Subject = (*from)[i].Wallet, (*from)[i].ID
	(*from)[i] = (*from)[n-1]
	*from = (*from)[:n-1]
	return true
}

// remember keeps what can be referred to. A hold that is captured in part may be captured again.
func (s *sender) remember(ops []Operation) {
	if s.load.Mix.empty() {
		return
	}
	for _, op := range ops {
		switch {
		case op.Answered.IsZero():
		case op.Kind == "HOLD":
			keep(&s.holds, op)
		case op.Kind == "CAPTURE" && op.Partial:
			keep(&s.holds, Operation{Wallet: op.Wallet, ID: op.Subject})
		case op.Kind == "DEPOSIT", op.Kind == "WITHDRAW", op.Kind == "CAPTURE" && op.Target == uuid.Nil:
			keep(&s.undone, op)
		}
	}
}

func keep(in *[]Operation, op Operation) {
	if len(*in) < remembered {
		*in = append(*in, op)
	}
}

// write makes the request of a single operation.
func (s *sender) write(op *Operation) {
	s.method = http.MethodPost
	wallet := "/api/v1/wallets/" + op.Wallet.String()
	s.body = append(s.body[:0], '{')
	switch op.Kind {
	case "HOLD":
		s.path = wallet + "/holds"
		s.amount(op.Amount)
		if !op.Expires.IsZero() {
			s.field("expiresAt", op.Expires.Format("2006-01-02T15:04:05.000000Z"))
		}
	case "CAPTURE":
		s.path = wallet + "/holds/" + op.Subject.String() + "/capture"
		s.amount(op.Amount)
		s.target(op)
		if op.Partial {
			s.body = append(s.body, `"final":false,`...)
		}
	case "RELEASE":
		s.path = wallet + "/holds/" + op.Subject.String() + "/release"
	case "REVERSE":
		s.path = wallet + "/operations/" + op.Subject.String() + "/reverse"
		s.amount(op.Amount)
	case "TRANSFER":
		s.path = wallet + "/transfers"
		s.amount(op.Amount)
		s.target(op)
	case "FREEZE", "ACTIVATE", "CLOSE":
		s.method, s.path = http.MethodPut, wallet+"/state"
		s.field("state", map[string]string{"FREEZE": "FROZEN", "ACTIVATE": "ACTIVE", "CLOSE": "CLOSED"}[op.Kind])
		s.field("reason", "a test")
	default:
		s.path = "/api/v1/wallet"
		s.inBody(op)
	}
	s.closeBody()
}

// inBody is an operation whose wallet is not in the path.
func (s *sender) inBody(op *Operation) {
	s.field("walletId", op.Wallet.String())
	s.field("operationType", op.Kind)
	s.amount(op.Amount)
	s.target(op)
}

func (s *sender) field(name, value string) {
	s.body = append(append(append(append(append(s.body, '"'), name...), `":"`...), value...), `",`...)
}

// amount is left out if it is open.
func (s *sender) amount(amount int64) {
	if amount > 0 {
		s.body = append(strconv.AppendInt(append(s.body, `"amount":`...), amount, 10), ',')
	}
}

func (s *sender) target(op *Operation) {
	if op.Target != uuid.Nil {
		s.field("toWalletId", op.Target.String())
	}
}

// closeBody ends an object, whose last field has a comma.
func (s *sender) closeBody() {
	if last := len(s.body) - 1; s.body[last] == ',' {
		s.body = s.body[:last]
	}
	s.body = append(s.body, '}')
}

// SendThese sends some operations, one after the other or batch by batch, and returns what the client knows of
// them.
func (l *Load) SendThese(ctx context.Context, ops ...Operation) []Operation {
	l.run, l.Start = uuid.NewString()[:8], time.Now()
	s := &sender{load: l, client: Client{APIKey: l.APIKey, Prefer: l.Prefer, Timeout: l.Attempt}}
	defer s.client.Close()
	n := int64(0)
	for some := range slices.Chunk(ops, max(1, l.Batch)) {
		for i := range some {
			some[i].ID, some[i].Due = operationID(some[i].Wallet, l.key(n, i)), time.Now()
		}
		key := ""
		if l.Batch > 0 {
			s.writeBatch(some, n)
		} else {
			key = l.key(n, 0)
			s.write(&some[0])
		}
		s.accept(ctx, some, key)
		n++
	}
	return ops
}
