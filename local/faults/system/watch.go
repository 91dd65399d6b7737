package system

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// What a process may need once everything is quiet. Leaks show over a campaign's hundreds of rounds.
const (
	mostGoroutines  = 300
	mostResidentMiB = 400
)

// Watch sees, all through a round, what would be over when the round is checked.
type Watch struct {
	campaign *System
	wallets  []uuid.UUID // those that the round began with

	mu     sync.Mutex
	broken []string
	// readersExcused: Redis serves some processes and not others.
	readersExcused bool
	// logExcused: Kafka has lost acknowledged data.
	logExcused bool
	// storeExcused: what was acknowledged to nobody has gone with a server. Reads after an operator has cut a wait
	// for a standby short may have shown it.
	storeExcused bool
	said         map[string][]string // by process: what its /readyz has reported since the fault

	progress progress
	waiting  map[uuid.UUID][]acceptedUpTo
	applied  map[uuid.UUID]int64

	cacheLooks, offsetLooks atomic.Int64 // that came to something

	End  context.CancelFunc
	Done sync.WaitGroup
}

func (f *System) startWatch(ctx context.Context) *Watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{campaign: f, wallets: f.Wallets, End: cancel, said: map[string][]string{}, waiting: map[uuid.UUID][]acceptedUpTo{}, applied: map[uuid.UUID]int64{}}
	w.progress.moved = time.Now()
	for _, look := range []struct {
		every time.Duration
		at    func(context.Context)
	}{
		{50 * time.Millisecond, w.lookAtProgress},
		{100 * time.Millisecond, w.cacheWatcher()},
		{500 * time.Millisecond, w.lookAtOffsets},
		{250 * time.Millisecond, w.lookAtReadiness},
	} {
		w.Done.Go(func() {
			for ; ctx.Err() == nil; proc.Pause(ctx, look.every) {
				look.at(ctx)
			}
		})
	}
	return w
}

// Stop returns what was seen.
func (w *Watch) Stop() []string {
	w.End()
	w.Done.Wait()
	return w.broken
}

func (w *Watch) Violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := fmt.Sprintf(format, args...); len(w.broken) < 20 && !slices.Contains(w.broken, text) {
		w.broken = append(w.broken, text)
	}
}

// Expect says what the next fault, or its end, makes of the rules.
func (w *Watch) Expect(k Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.readersExcused = w.readersExcused || k.cutsSome
	w.logExcused = w.logExcused || k.LosesLog
	w.storeExcused = w.storeExcused || k.GoesBack
	w.progress.Worst, w.progress.most = 0, 0
	clear(w.said)
}

func (w *Watch) mayGoBack() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.storeExcused
}

func (w *Watch) excused() (readers, log bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.readersExcused, w.logExcused
}

// progress is what the watch knows of how the system gets on.
type progress struct {
	at      time.Time // of the last look
	err     error     // of the last look
	backlog int64     // operations that wait to be applied
	Oldest  time.Duration
	moved   time.Time // when the hot wallet was last seen to have accepted something

	sequence int64 // of the hot wallet
	// Worst is the longest that something has waited since the fault: an operation to be applied, or
	// the hot wallet to accept one. most is the largest backlog since then.
	Worst time.Duration
	most  int64
}

// acceptedUpTo is when a sequence of a wallet was seen for the first time.
type acceptedUpTo struct {
	at  time.Time
	seq int64
}

func (w *Watch) Latest() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress
}

// lookAtProgress goes by the campaign's own clock: a fault may move that of Postgres.
func (w *Watch) lookAtProgress(ctx context.Context) {
	next := w.Latest()
	next.err = w.sample(ctx, &next)
	next.at = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	next.Worst = max(w.progress.Worst, next.Oldest, next.at.Sub(next.moved))
	next.most = max(w.progress.most, next.backlog)
	w.progress = next
}

func (w *Watch) sample(ctx context.Context, next *progress) error {
	ctx, cancel := context.WithTimeout(ctx, WorksWithin)
	defer cancel()
	rows, err := w.campaign.Pool.Query(ctx, "SELECT w.id, s.last_seq, w.applied_seq FROM wallets w JOIN wallet_sequences s ON s.wallet_id = w.id WHERE w.id = ANY ($1)", w.wallets)
	if err != nil {
		return err
	}
	now := time.Now()
	next.backlog, next.Oldest = 0, 0
	var wallet uuid.UUID
	var last, applied int64
	_, err = pgx.ForEachRow(rows, []any{&wallet, &last, &applied}, func() error {
		if applied < w.applied[wallet] && !w.mayGoBack() {
			w.Violate("wallet %s was applied up to %d and then up to %d", wallet, w.applied[wallet], applied)
		}
		w.applied[wallet] = applied
		waiting := w.waiting[wallet]
		if n := len(waiting); n == 0 || waiting[n-1].seq < last {
			waiting = append(waiting, acceptedUpTo{now, last})
		}
		for len(waiting) > 0 && waiting[0].seq <= applied {
			waiting = waiting[1:]
		}
		if len(waiting) > 0 {
			next.Oldest = max(next.Oldest, now.Sub(waiting[0].at))
		}
		w.waiting[wallet] = waiting
		next.backlog += last - applied
		if wallet == w.campaign.Hot && last > next.sequence {
			next.sequence, next.moved = last, now
		}
		return nil
	})
	return err
}

// cacheWatcher sees that no entry is newer than Postgres, nor older than the one seen before.
func (w *Watch) cacheWatcher() func(context.Context) {
	seen := map[uuid.UUID]int64{}
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, WorksWithin)
		defer cancel()
		for _, id := range w.wallets[:3] {
			entry, _, found, err := walletcache.Read(ctx, w.campaign.Cache, id)
			if err != nil || !found {
				continue
			}
			var applied int64
			if err := w.campaign.Pool.QueryRow(ctx, "SELECT applied_seq FROM wallets WHERE id = $1", id).Scan(&applied); err != nil {
				continue
			}
			if entry.AppliedSeq > applied && !w.mayGoBack() {
				w.Violate("the cache knows version %d of wallet %s, Postgres only %d", entry.AppliedSeq, id, applied)
			}
			if entry.AppliedSeq < seen[id] && !w.mayGoBack() {
				w.Violate("the cache went back from version %d to %d of wallet %s", seen[id], entry.AppliedSeq, id)
			}
			seen[id] = entry.AppliedSeq
			w.cacheLooks.Add(1)
		}
	}
}

// lookAtOffsets sees that what is below the group's committed offsets is applied.
func (w *Watch) lookAtOffsets(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, WorksWithin)
	defer cancel()
	committed, err := w.campaign.committedOffsets(ctx)
	if err != nil {
		return
	}
	passed := passed(w.campaign.Log, committed)
	rows, err := w.campaign.Pool.Query(ctx, "SELECT w.id, s.last_seq, w.applied_seq FROM wallets w JOIN wallet_sequences s ON s.wallet_id = w.id WHERE w.id = ANY ($1)", w.wallets)
	if err != nil {
		return
	}
	var id uuid.UUID
	var last, applied int64
	_, err = pgx.ForEachRow(rows, []any{&id, &last, &applied}, func() error {
		if _, excused := w.excused(); applied < min(passed[id], last) && !excused {
			w.Violate("the committed offset is past sequence %d of wallet %s, which is applied up to %d", passed[id], id, applied)
		}
		return nil
	})
	if err == nil {
		w.offsetLooks.Add(1)
	}
}

// committedOffsets returns where the group begins: past the end of a log that was created again, Kafka's client begins
// at its first message.
func (f *System) committedOffsets(ctx context.Context) (map[int32]int64, error) {
	request := kmsg.NewPtrOffsetFetchRequest()
	group := kmsg.NewOffsetFetchRequestGroup()
	group.Group = f.Group
	topic := kmsg.NewOffsetFetchRequestGroupTopic()
	topic.Topic = f.Stack.Topic
	for partition := range int32(stack.TopicPartitions) {
		topic.Partitions = append(topic.Partitions, partition)
	}
	group.Topics = append(group.Topics, topic)
	request.Groups = append(request.Groups, group)
	response, err := request.RequestWith(ctx, f.Log.Kafka())
	if err != nil {
		return nil, err
	}
	committed := map[int32]int64{}
	for _, g := range response.Groups {
		err = errors.Join(err, kerr.ErrorForCode(g.ErrorCode))
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				err = errors.Join(err, kerr.ErrorForCode(p.ErrorCode))
				committed[p.Partition] = p.Offset
			}
		}
	}
	if err != nil || !f.Recreated.Load() {
		return committed, err
	}
	ends, err := check.TopicLog{Topic: f.Stack.Topic, Partitions: stack.TopicPartitions}.Ends(ctx, f.Log.Kafka())
	for partition, offset := range committed {
		if offset > ends[partition] {
			committed[partition] = 0
		}
	}
	return committed, err
}

// passed returns each wallet's highest sequence below the offsets.
func passed(r *logReader[check.Message], offsets map[int32]int64) map[uuid.UUID]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	highest := map[uuid.UUID]int64{}
	for _, m := range r.log {
		if m.Offset < offsets[m.Partition] {
			highest[m.WalletID] = max(highest[m.WalletID], m.Sequence)
		}
	}
	return highest
}

// lookAtReadiness notes what the processes say, and sees that an api stays ready whatever it has lost:
// else all would be taken out at once.
func (w *Watch) lookAtReadiness(ctx context.Context) {
	for _, p := range w.campaign.Stack.Services {
		r, err := stack.AskReady(ctx, p)
		if err != nil {
			continue
		}
		for _, reason := range r.Reasons {
			if strings.HasPrefix(p.Name, "api") && reason != "starting" && reason != "draining" {
				w.Violate("%s says that it is not ready: %s", p.Name, reason)
			}
		}
		w.mu.Lock()
		for _, text := range slices.Concat(r.Degraded, r.Reasons) {
			if !slices.Contains(w.said[p.Name], text) {
				w.said[p.Name] = append(w.said[p.Name], text)
			}
		}
		w.mu.Unlock()
	}
}

// CheckReported complains about processes of a service that have not reported what they lost.
func (w *Watch) CheckReported(k Fault) {
	if k.reportedBy == "" {
		return
	}
	for _, p := range w.campaign.Stack.Replicas(k.reportedBy) {
		w.mu.Lock()
		said := strings.Join(w.said[p.Name], "; ")
		w.mu.Unlock()
		if !strings.Contains(said, k.reported) {
			w.Violate("/readyz of %s did not report %s, only: %q", p.Name, k.reported, said)
		}
	}
}

// Footprint is the most that a process of a service has needed after a round.
type Footprint struct {
	ResidentMiB float64 `json:"residentMiB"`
	Goroutines  int     `json:"goroutines"`
}

// checkFootprints looks at every process once a round is quiet.
func (f *System) checkFootprints(ctx context.Context) (broken []string) {
	for _, p := range f.Stack.Services {
		now, err := askFootprint(ctx, p)
		if err != nil {
			broken = append(broken, fmt.Sprintf("%s does not report its metrics: %v", p.Name, err))
			continue
		}
		service, _, _ := strings.Cut(p.Name, "-")
		most := f.Footprints[service]
		f.Footprints[service] = Footprint{max(most.ResidentMiB, now.ResidentMiB), max(most.Goroutines, now.Goroutines)}
		if now.Goroutines > mostGoroutines || now.ResidentMiB > mostResidentMiB {
			broken = append(broken, fmt.Sprintf("%s has %d goroutines and %.0f MiB in a quiet moment", p.Name, now.Goroutines, now.ResidentMiB))
		}
	}
	return broken
}

func askFootprint(ctx context.Context, p *proc.Process) (now Footprint, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.AdminURL+"/metrics", nil)
	if err != nil {
		return now, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return now, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		number, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "go_goroutines":
			now.Goroutines = int(number)
		case "process_resident_memory_bytes":
			now.ResidentMiB = number / (1 << 20)
		}
	}
	return now, lines.Err()
}

// readWallets is a reader who goes from one api to the next, and never sees a wallet go back.
func (f *System) readWallets(ctx context.Context, w *Watch, wallets []uuid.UUID) {
	seen := map[uuid.UUID]int64{}
	c := load.Client{APIKey: f.Stack.APIKey, Timeout: 2 * time.Second}
	defer c.Close()
	for n := 0; ctx.Err() == nil; n++ {
		c.Addr = strings.TrimPrefix(f.Stack.APIURLs[n%len(f.Stack.APIURLs)], "http://")
		c.Close()
		id := wallets[n/len(f.Stack.APIURLs)%len(wallets)]
		r, err := c.Do(http.MethodGet, "/api/v1/wallets/"+id.String(), "", nil)
		var wallet struct{ Version int64 }
		if err == nil && r.Status == http.StatusOK && json.Unmarshal(r.Body, &wallet) == nil {
			excused, _ := w.excused()
			if wallet.Version < seen[id] && !excused && !w.mayGoBack() {
				w.Violate("a reader was told version %d of wallet %s after %d", wallet.Version, id, seen[id])
			}
			if wallet.Version > seen[id] || w.mayGoBack() {
				seen[id] = wallet.Version
			}
		}
		proc.Pause(ctx, 5*time.Millisecond)
	}
}
