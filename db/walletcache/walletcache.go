// Package walletcache keeps wallets in Redis by version. Its rule: an entry may be read only if no process
// can have missed a write since. So a reader never sees a wallet's version go back, whatever Redis does.
//
//   - An entry is readable in one generation only. Another generation begins, and with it every entry is
//     unreadable, whenever a script finds that the present one belongs to another history of writes
//     (the server's replication id: it is another after a restart, a failover, a promotion), that it is
//     gone (FLUSHALL), or that no process has renewed its lease; and whenever a process asks for it that
//     has missed a write (see Guard). No process has to notice anything for that. In a history that is
//     new, and after everything was gone, nothing is cached for 5 s: until every process is there.
//   - Reading is a write to Redis: it is refused wherever a write is (a replica, memory full, a right
//     that was taken away), so no process reads what others cannot write.
//   - Only a reader makes an entry, and before it asks Postgres: it leaves a ticket, and what it then
//     brings from Postgres counts only while that ticket is there. Whatever was evicted, flushed or
//     expired meanwhile took the ticket with it. Everyone else, the worker above all, raises entries
//     that exist.
//   - A process raises the entry before a client gets the version. If it cannot, it first makes all
//     entries unreadable, or waits until the lease is over and Redis still refuses.
//
// Programs of the last release use the same entries, of which they know neither what is held nor the state,
// tenant and metadata. What they write makes an entry unreadable for this one until somebody writes what is
// missing (rest in raise.lua); what this one writes they read as ever.
//
// What is left: if Redis serves some processes and not others (a network that is cut in part, a login
// of its own without the rights, a failover that one process notices 5 s later than another), a client that
// alternates between them may see a version that is older by as much as the worker's write is late. Redis
// may lose anything else at any time: Postgres stays the truth.
//
// A wallet's keys are in one slot of a cluster, together with its generation: a cluster has a generation
// for each of some groups of wallets. Its masters fail, and move slots, without regard to each other.
package walletcache

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

const (
	// Channel is where Set announces each wallet as "walletId:version".
	Channel = "wallet-applied"

	ttl = 5 * time.Minute
	// ticketTTL is longer than any request.
	ticketTTL = 30 * time.Second
	// lease is how long a generation may be read after a process could last write.
	lease = time.Second
	// ClusterGroups is how many groups the wallets of a cluster are in: some for each of its masters.
	ClusterGroups = 16
)

// settling is how long nothing is cached in a server that is new: a process that finds it, after a
// restart or by Sentinel, may do so seconds before another one does.
var settling = 5 * time.Second

var (
	//go:embed history.lua
	historySource string
	//go:embed read.lua
	readSource string
	//go:embed peek.lua
	peekSource string
	//go:embed raise.lua
	raiseSource string
	//go:embed touch.lua
	touchSource string

	readScript  = newScript(historySource + readSource)
	peekScript  = newScript(historySource + peekSource)
	raiseScript = newScript(raiseSource)
	touchScript = newScript(historySource + touchSource)
)

// Ticket says that a reader found no entry, and goes to Postgres.
type Ticket string

// Entry is a wallet as readers get it.
type Entry struct {
	walletdb.Wallet
	Metadata []byte // JSON; nil if the wallet has none
}

// Read returns a wallet, or reports false and a ticket with which Fill makes the entry after all.
func Read(ctx context.Context, client redis.UniversalClient, id uuid.UUID) (w Entry, ticket Ticket, found bool, err error) {
	answer, err := readScript.Run(ctx, client, keysOf(client, id), newID(), ticketTTL.Milliseconds()).Result()
	if err != nil {
		return w, "", false, err
	}
	if text, missed := answer.(string); missed {
		return w, Ticket(text), false, nil
	}
	w, err = parse(id, answer)
	return w, "", err == nil, err
}

// Get returns what Read would, for people and audits: it changes nothing, and answers also where Redis
// refuses writes.
func Get(ctx context.Context, client redis.UniversalClient, id uuid.UUID) (w Entry, found bool, err error) {
	answer, err := peekScript.Run(ctx, client, keysOf(client, id)).Result()
	if _, missed := answer.(string); err != nil || missed {
		return w, false, err
	}
	w, err = parse(id, answer)
	return w, err == nil, err
}

// parse reads what the scripts return: version, rest, metadata, balance, held, state, currency, created_at,
// reference, tenant.
func parse(id uuid.UUID, answer any) (w Entry, err error) {
	values, _ := answer.([]any)
	var got [10]string
	if len(values) < len(got) {
		return w, fmt.Errorf("the cache returned %v", answer)
	}
	for i := range got {
		got[i], _ = values[i].(string)
	}
	version, versionErr := strconv.ParseInt(got[0], 10, 64)
	balance, balanceErr := strconv.ParseInt(got[3], 10, 64)
	held, heldErr := strconv.ParseInt(got[4], 10, 64)
	createdAt, createdErr := time.Parse(time.RFC3339Nano, got[7])
	if err := errors.Join(versionErr, balanceErr, heldErr, createdErr); err != nil {
		return w, err
	}
	w.Wallet = walletdb.Wallet{
		ID: id, Currency: got[6], Balance: balance, Held: held, State: walletdb.WalletState(got[5]), AppliedSeq: version,
		Tenant: got[9], CreatedAt: createdAt,
	}
	if got[2] != "" {
		w.Metadata = []byte(got[2])
	}
	if got[8] != "" {
		w.Reference = &got[8]
	}
	return w, nil
}

// Fill makes the entry that the ticket is for, with what was read from Postgres since. If there is an
// entry already it raises that, without a ticket too.
func Fill(ctx context.Context, client redis.UniversalClient, ticket Ticket, w Entry) error {
	arguments := stateOf(w.Wallet, ticket, "")
	if ticket != "" {
		arguments = append(arguments, lasting(w)...)
	}
	return raiseScript.runAll(ctx, client, []call{{keysOf(client, w.ID), arguments}})
}

// Raise raises the entries of wallets of which perhaps only id, version, balance, held and state are known.
func Raise(ctx context.Context, client redis.UniversalClient, states ...walletdb.Wallet) error {
	return raise(ctx, client, states, "")
}

// Set raises entries in one round trip, and announces the wallets on Channel.
func Set(ctx context.Context, client redis.UniversalClient, wallets []walletdb.Wallet) error {
	return raise(ctx, client, wallets, Channel)
}

func raise(ctx context.Context, client redis.UniversalClient, wallets []walletdb.Wallet, channel string) error {
	calls := make([]call, 0, len(wallets))
	for _, w := range wallets {
		calls = append(calls, call{keysOf(client, w.ID), stateOf(w, "", channel)})
	}
	return raiseScript.runAll(ctx, client, calls)
}

// stateOf are raise.lua's first arguments. The time to live varies by a fifth, so that entries written
// together do not expire together.
func stateOf(w walletdb.Wallet, ticket Ticket, channel string) []any {
	expiry := ttl - mathrand.N(ttl/5)
	return []any{w.AppliedSeq, w.Balance, w.Held, string(w.State), expiry.Milliseconds(), string(ticket), channel, w.ID.String()}
}

// lasting are those that come with a ticket: what never changes.
func lasting(w Entry) []any {
	reference := ""
	if w.Reference != nil {
		reference = *w.Reference
	}
	return []any{string(w.Metadata), w.Currency, w.CreatedAt.UTC().Format(time.RFC3339Nano), reference, w.Tenant}
}

// Touch renews the lease of what is cached. It fails where Redis refuses any write that the cache needs.
func Touch(ctx context.Context, client redis.UniversalClient) error {
	return touch(ctx, client, "keep")
}

// Probe is Touch without a lease, for callers that only want to know.
func Probe(ctx context.Context, client redis.UniversalClient) error {
	return touch(ctx, client, "probe")
}

// Renew makes every present entry unreadable. It fails where Touch does.
func Renew(ctx context.Context, client redis.UniversalClient) error {
	return touch(ctx, client, "renew")
}

func touch(ctx context.Context, client redis.UniversalClient, what string) error {
	var calls []call
	id := newID()
	for group := range groups(client) {
		calls = append(calls, call{
			[]string{generationKey(client, group), prefix(client, group) + "probe"},
			[]any{what, id, lease.Milliseconds(), settling.Milliseconds()},
		})
	}
	return touchScript.runAll(ctx, client, calls)
}

// Invalidate makes every present entry unreadable, also where Redis takes no new value: memory that is
// full, and a right to write that is gone, leave DEL.
func Invalidate(ctx context.Context, client redis.UniversalClient) error {
	err := Renew(ctx, client)
	if !refused(err) || forget(ctx, client) != nil {
		return err
	}
	return nil
}

// forget deletes the generation. A process that can write begins another one.
func forget(ctx context.Context, client redis.UniversalClient) error {
	pipe := client.Pipeline()
	for group := range groups(client) {
		pipe.Del(ctx, generationKey(client, group))
	}
	_, err := pipe.Exec(ctx)
	return err
}

// refused reports whether Redis has answered, with an error.
func refused(err error) bool {
	answer := redis.Error(nil)
	return errors.As(err, &answer)
}

// newID is for a generation or a ticket: no process has used it before. It is short: a hash of which one
// value is longer than 64 bytes takes several times the memory.
func newID() string { return idPrefix + strconv.FormatUint(idCount.Add(1), 36) }

var (
	idPrefix = rand.Text()[:13] // 65 random bits
	idCount  atomic.Uint64
)

// keysOf are the generation's and the entry's.
func keysOf(client redis.UniversalClient, id uuid.UUID) []string {
	group := int(id[len(id)-1]) % groups(client)
	return []string{generationKey(client, group), prefix(client, group) + id.String()}
}

// Without a cluster there is one group, and no more in a key than there was before there were groups.
func groups(client redis.UniversalClient) int {
	if _, cluster := client.(*redis.ClusterClient); cluster {
		return ClusterGroups
	}
	return 1
}

func generationKey(client redis.UniversalClient, group int) string {
	if groups(client) == 1 {
		return "wallet-generation"
	}
	return prefix(client, group) + "generation"
}

// prefix names a group in braces: what is between them decides on the slot of a key.
func prefix(client redis.UniversalClient, group int) string {
	if groups(client) == 1 {
		return "wallet:"
	}
	return fmt.Sprintf("wallet:{%d}:", group)
}

// script is a Lua script that each server learns when it is called there for the first time.
type script struct{ *redis.Script }

func newScript(source string) script { return script{redis.NewScript(source)} }

// call is what a script is called with.
type call struct {
	keys      []string
	arguments []any
}

// runAll calls the script several times in one round trip to each server.
func (s script) runAll(ctx context.Context, client redis.UniversalClient, calls []call) error {
	pipe := client.Pipeline()
	for _, c := range calls {
		s.EvalSha(ctx, pipe, c.keys, c.arguments...)
	}
	commands, err := pipe.Exec(ctx)
	unknown := false
	for _, command := range commands {
		unknown = unknown || command.Err() != nil && strings.HasPrefix(command.Err().Error(), "NOSCRIPT")
	}
	if !unknown {
		return err
	}
	for _, c := range calls { // calling it twice does no harm
		s.Eval(ctx, pipe, c.keys, c.arguments...)
	}
	_, err = pipe.Exec(ctx)
	return err
}
