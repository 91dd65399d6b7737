package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// campaign throws faults at a system, one or a few a round. Each round has fresh wallets and a load on
// them. After each fault it waits until the system has recovered, and at the end of a round it holds
// everything that the clients were told, Postgres, Kafka's log and Redis against each other. A watch sees
// all along what would be over by then.
type campaign struct {
	system  *system.System
	options options
	report  *report
	records map[string]*record
	out     io.Writer
	began   time.Time
}

func newCampaign(s *system.System, o options, r *report, out io.Writer) *campaign {
	return &campaign{system: s, options: o, report: r, records: map[string]*record{}, out: out}
}

// run throws the kinds in a random order, all of them before any comes again, prints a line for each and
// the report at the end.
func (c *campaign) run(ctx context.Context, kinds []system.Fault) error {
	var possible []system.Fault
	for _, k := range kinds {
		c.records[k.Name] = &record{Name: k.Name, NotPossible: k.NotPossible}
		c.report.Kinds = append(c.report.Kinds, c.records[k.Name])
		if k.NotPossible == "" {
			possible = append(possible, k)
		}
	}
	fmt.Fprintf(c.out, "\n  fault    time\n")
	c.began = time.Now()
	failure := c.throwAll(ctx, possible)
	c.report.Seconds = time.Since(c.began).Seconds()
	c.report.AcceptedPerSecond = float64(c.report.Accepted) / max(1, c.report.loaded.Seconds())
	if ctx.Err() != nil {
		failure = proc.ErrInterrupted
	} else if failure != nil {
		fmt.Fprintln(c.out, "\n  the campaign ended in the middle of a round: there is no last audit")
	} else if audit := check.Audit(ctx, c.system.Stack.Verify); len(audit.Broken) > 0 {
		fmt.Fprintln(c.out, "\n  ctl verify of everything:")
		printViolations(c.out, audit.Broken)
		c.report.Broken = append(c.report.Broken, audit.Broken...)
	}
	c.report.Violations = len(c.report.Broken)
	c.report.print(c.out)
	if failure != nil {
		return failure
	}
	if c.report.Violations > 0 {
		return errors.New("a promise is broken")
	}
	fmt.Fprintln(c.out, "\n  Every promise holds.")
	return nil
}

// throwAll goes on until the time is over, or each kind was thrown as often as asked for.
func (c *campaign) throwAll(ctx context.Context, kinds []system.Fault) error {
	var deck []system.Fault
	for times := 0; len(kinds) > 0 && time.Since(c.began) <= c.options.duration; {
		if len(deck) == 0 {
			if c.options.times > 0 && times == c.options.times {
				return nil
			}
			times++
			for _, i := range c.system.Random.Perm(len(kinds)) {
				deck = append(deck, kinds[i])
			}
		}
		hand := deal(deck, c.options.alone)
		deck = deck[len(hand):]
		at := time.Since(c.began)
		r, err := throwRound(ctx, c.system, hand)
		c.add(at, r)
		if err != nil {
			fmt.Fprintf(c.out, "  %v\n", err)
			return err
		}
	}
	return nil
}

// add reports a round.
func (c *campaign) add(at time.Duration, r round) {
	for _, t := range r.thrown {
		c.report.Faults++
		fmt.Fprintf(c.out, "  %5d %6.0fs  %-56s recovered in %4.1f s, longest wait %4.1f s, worst accept %4.1f s\n",
			c.report.Faults, at.Seconds(), t.kind, t.recovery.Seconds(), t.worst.Seconds(), t.accept.Seconds())
		c.records[t.kind].add(t, len(r.violations), r.receipt)
	}
	c.report.Rounds++
	c.report.Accepted += r.accepted
	c.report.NotAnswered += r.unanswered
	c.report.loaded += r.loaded
	c.report.Broken = append(c.report.Broken, r.violations...)
	printViolations(c.out, r.violations)
}

// deal takes the next round's faults from the top of the deck: one that is slow, or as many as are
// over within handTime. alone: one.
func deal(deck []system.Fault, alone bool) []system.Fault {
	const handTime, each, most = 18 * time.Second, 2 * time.Second, 6
	var sum time.Duration
	for i, k := range deck {
		sum += k.Holds + each
		alone := alone || k.Within != system.OfService || k.LosesLog
		if i > 0 && (alone || sum > handTime || i == most) {
			return deck[:i]
		}
		if alone {
			return deck[:1]
		}
	}
	return deck
}

func printViolations(out io.Writer, violations []string) {
	const shown = 8
	for _, line := range violations[:min(shown, len(violations))] {
		fmt.Fprintf(out, "      ✗ %s\n", strings.TrimSpace(line))
	}
	if more := len(violations) - shown; more > 0 {
		fmt.Fprintf(out, "      and %d more\n", more)
	}
}
