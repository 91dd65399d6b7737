package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/kinds"
	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// A mutation takes one of the system's rules out of a service. The campaign has to find out, by the
// faults that matter to the rule: one that does not would prove nothing. Some rules guard moments that
// no fault from outside hits within a bounded time, such as the lock before the read, and the worker
// that never goes back: their mutation tests are beside them.
type mutation struct {
	rule    string
	service string
	file    string
	edits   []string // what is found, exactly once, what it is replaced by, and so on
	kafka   string   // apache or kfake, for broker faults; standby: apache, and Postgres with a synchronous standby
	faults  string   // the names of faults that show it, a regexp
}

const (
	anyFault      = `^kill -9 of (an api|a worker)$`
	largeBacklog  = `^silence between relay and kafka|^SIGSTOP of kafka`
	refusedBatch  = `^one batch refused by`
	manyBatches   = `^one batch refused|^kill -9 of the leading relay`
	promotion     = `the primary destroyed, the standby promoted$`
	cancelled     = `^the same after the commits that wait were cancelled`
	relayOfKilled = `^a partition without its leader, and kill -9`
)

var faultMutations = []mutation{
	{"none: the campaign finds nothing", "relay", "relay/partition.go", nil, "apache", anyFault + `|^a stale writer|^a wallet's row|^a partition added`},
	{
		"R1: rows are published in id order", "relay", "relay/postgres.go",
		[]string{"f.rows[i] = row{ID: r.ID,", "f.rows[len(all)-1-i] = row{ID: r.ID,"},
		"apache", anyFault,
	},
	{
		"R1: transactions that were running are read later", "relay", "db/walletdb/relay.sql.go",
		[]string{
			"FROM pg_snapshot_xip($3::pg_snapshot) x (xid)\n     CROSS JOIN LATERAL (SELECT id, xid, topic, key, payload",
			"FROM (SELECT NULL::xid8 LIMIT 0) x (xid)\n     CROSS JOIN LATERAL (SELECT id, xid, topic, key, payload",
		},
		"apache", anyFault,
	},
	{
		"R1: a large window is published by its own snapshot", "relay", "relay/session.go",
		[]string{"!found.tooMany {", "true {"},
		"apache", largeBacklog,
	},
	{
		"R1: a large window is read to its end", "relay", "relay/order.go",
		[]string{"case p.upTo < p.at.window.last:\n\t\tnext.window.after = p.upTo\n", ""},
		"apache", largeBacklog,
	},
	{
		"R4: the registered count decides the partition", "relay", "relay/session.go",
		[]string{"partition: partition(r.Key, partitions)", "partition: -1"},
		"apache", `^a partition added`,
	},
	{
		"worker: what is applied is not read again", "worker", "db/walletdb/apply.sql.go",
		[]string{"p.seq > w.applied_seq AND", ""},
		"apache", anyFault,
	},
	{
		"worker: a stuck wallet keeps the offset where it is", "worker", "worker/partition.go",
		[]string{"if len(p.stuck) == 0 {\n\t\tp.progress.report(nil)", "{\n\t\tp.progress.report(nil)"},
		"apache", `^a wallet's row locked`,
	},
	{
		"worker: an offset is stored after its messages are applied", "worker", "worker/partition.go",
		[]string{
			"\tfailed, err := p.settle(ctx, p.targets(batch), batch)\n",
			"\tif len(batch) > 0 && len(p.stuck) == 0 {\n\t\tp.progress.store(batch[len(batch)-1].offset + 1)\n\t}\n\tfailed, err := p.settle(ctx, p.targets(batch), batch)\n",
		},
		"apache", `^a wallet's row locked|^worker cut off from postgres`,
	},
	{
		"Redis: an older version does not replace a newer one", "worker", "db/walletcache/raise.lua",
		[]string{"if not entry[2] or tonumber(ARGV[1]) > tonumber(entry[2]) or", "if true or"},
		"apache", `^a stale writer`,
	},
	{
		"money: what a hold keeps is not available", "worker", "worker/rules.go",
		[]string{"amount > w.available():", "amount > w.balance:"},
		"apache", anyFault,
	},
	{
		"R1: a window's rows are all published before the next window", "relay", "relay/order.go",
		[]string{"case taken < len(p.rows):\n\t\tnext.window.after = p.rows[taken-1].ID\n", ""},
		"kfake", manyBatches,
	},
	{
		"R2: a batch that failed is read again", "relay", "relay/session.go",
		[]string{"if err := s.publish(ctx, messages); err != nil {\n\t\t\treturn 0, false, err\n\t\t}", "_ = s.publish(ctx, messages)"},
		"kfake", refusedBatch,
	},
	{
		"R2: nothing is sent behind a gap", "relay", "relay/kafka.go",
		[]string{`"enable.gapless.guarantee": true`, `"enable.gapless.guarantee": false`},
		"kfake", refusedBatch,
	},
	{
		"R3: a batch is published when all of it is acknowledged", "relay", "relay/kafka.go",
		[]string{"for acknowledged < len(messages) {", "for acknowledged < len(messages)-1 {"},
		"kfake", relayOfKilled,
	},
	{
		"R3: a position is saved after the acknowledgement", "relay", "relay/session.go",
		[]string{"\tif len(messages) > 0 {\n\t\tif err := s.publish", "\ts.at = page.past(taken)\n\tif len(messages) > 0 {\n\t\tif err := s.publish"},
		"kfake", refusedBatch,
	},
}

// standbyMutations are those about what a synchronous standby has.
var standbyMutations = []mutation{
	{"none: no promotion takes anything back", "api", "db/commit.go", nil, "standby", promotion + "|" + cancelled},
	// That nothing of ours cuts a wait short has its mutation in durable_mutation_test.go.
	{
		"D1: a WARNING after COMMIT is an unknown outcome", "api", "db/commit.go",
		[]string{"if c.warning == nil {", "if true {"},
		"standby", cancelled,
	},
	{
		"D2: what was only found is confirmed", "api", "db/walletdb/transaction.sql.go",
		[]string{"SELECT pg_logical_emit_message(true, 'wallet', '') WHERE current_setting('synchronous_standby_names') <> ''", "SELECT 1"},
		"standby", cancelled,
	},
}

// caught is how the absence of a rule showed.
type caught struct {
	Rule    string  `json:"rule"`
	By      string  `json:"by"`
	Seen    string  `json:"seen"`
	Seconds float64 `json:"seconds"`
}

// mutationPatience is how long a campaign may look for what is wrong.
const mutationPatience = 2 * time.Minute

// mutate runs a campaign on each mutation, and returns an error if one is not found.
func mutate(ctx context.Context, c stack.Config, o options, root string, out io.Writer) error {
	r := &report{
		Date: time.Now().UTC(), Command: "make faults ARGS=-mutations", Seed: o.seed,
		Conditions: conditions("apache, and kfake for broker faults"),
	}
	began := time.Now()
	var missed []string
	for _, kafka := range []string{"apache", "kfake", "standby"} {
		var chosen []mutation
		for _, m := range slices.Concat(faultMutations, standbyMutations) {
			if m.kafka == kafka && o.only.MatchString(m.rule) {
				chosen = append(chosen, m)
			}
		}
		if len(chosen) == 0 {
			continue
		}
		if c.Kafka, c.Standbys, c.Redis = kafka, 0, ""; kafka == "standby" {
			c.Kafka, c.Standbys = "apache", 1
		}
		found, err := mutateOn(ctx, c, chosen, root, o.seed, out)
		r.Mutations = append(r.Mutations, found...)
		if err != nil {
			return err
		}
	}
	r.Seconds = time.Since(began).Seconds()
	for _, m := range r.Mutations {
		fmt.Fprintf(out, "  %-68s %5.0f s  %s\n", m.Rule, m.Seconds, m.Seen)
		if m.By == "" {
			missed = append(missed, m.Rule)
		}
	}
	if o.report != "" {
		if err := r.write(o.report, "mutations"); err != nil {
			return err
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("not found out: %s", strings.Join(missed, "; "))
	}
	return nil
}

func mutateOn(ctx context.Context, c stack.Config, mutations []mutation, root string, seed uint64, out io.Writer) (found []caught, err error) {
	f, err := system.Start(ctx, c, root, seed, out)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// What is broken need not be waited for; and what is only slow would not prove anything.
	f.Patience, f.Unhurried = 20*time.Second, true
	for _, m := range mutations {
		fmt.Fprintf(out, "\n  without %s\n", m.rule)
		f.Random = rand.New(rand.NewPCG(seed, 0))
		mutant := filepath.Join(f.Stack.Bin, m.service+"-mutant")
		if err := buildMutant(ctx, root, mutant, m); err != nil {
			return found, fmt.Errorf("%s: %w", m.rule, err)
		}
		if err := f.Stack.Replace(ctx, m.service, mutant); err != nil {
			return found, fmt.Errorf("%s: %w", m.rule, err)
		}
		c, err := findOut(ctx, f, m, out)
		if err != nil {
			return found, fmt.Errorf("%s: %w", m.rule, err)
		}
		found = append(found, c)
		if err := f.Stack.Replace(ctx, m.service, filepath.Join(f.Stack.Bin, m.service)); err != nil {
			return found, fmt.Errorf("after %s: %w", m.rule, err)
		}
	}
	return found, nil
}

// findOut throws the faults that a mutation is about until something is found, or all once if nothing
// is to be found.
func findOut(ctx context.Context, f *system.System, m mutation, out io.Writer) (caught, error) {
	c := caught{Rule: m.rule}
	wanted := regexp.MustCompile(m.faults)
	began := time.Now()
	for time.Since(began) < mutationPatience {
		for _, k := range kinds.All(f) {
			if !wanted.MatchString(k.Name) || k.NotPossible != "" {
				continue
			}
			r, err := throwRound(ctx, f, []system.Fault{k})
			if err != nil && (ctx.Err() != nil || len(r.violations) == 0) {
				return c, err
			}
			c.Seconds = time.Since(began).Seconds()
			switch {
			case len(r.violations) > 0 && m.edits == nil:
				return c, fmt.Errorf("sound programs, and yet: %q", r.violations)
			case len(r.violations) > 0:
				c.By, c.Seen = "campaign, "+k.Name, strings.TrimSpace(r.violations[0])
				printViolations(out, r.violations)
				return c, nil
			}
		}
		if m.edits == nil {
			c.By, c.Seen = "campaign", "nothing, as it has to be"
			return c, nil
		}
	}
	c.Seen = "nothing"
	return c, nil
}

// buildMutant builds a service without a rule.
func buildMutant(ctx context.Context, root, program string, m mutation) error {
	file := filepath.Join(root, m.file)
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for i := 0; i < len(m.edits); i += 2 {
		if n := strings.Count(string(source), m.edits[i]); n != 1 {
			return fmt.Errorf("%s has %q %d times, not once: change the mutation with the code", m.file, m.edits[i], n)
		}
	}
	mutant := program + "-" + filepath.Base(m.file)
	if err := os.WriteFile(mutant, []byte(strings.NewReplacer(m.edits...).Replace(string(source))), 0o644); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {file: mutant}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(mutant+".overlay", overlay, 0o644); err != nil {
		return err
	}
	if err := proc.Run(ctx, root, "go", "build", "-tags", "failpoints", "-overlay", mutant+".overlay", "-o", program, "./"+m.service); err != nil {
		return errors.Join(errors.New("build without the rule"), err)
	}
	return nil
}
