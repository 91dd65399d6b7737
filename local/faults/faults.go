// Package faults throws faults at a whole stack under load, and checks every promise after each.
package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/faults/kinds"
	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// Run runs a campaign for a while and returns an error if a promise was broken.
func Run(ctx context.Context, c stack.Config, args []string, out io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if c.DatabaseURL != "" || c.RedisURL != "" || c.KafkaBrokers != "" {
		return errors.New("faults kills the servers it works with, and so starts its own: unset DATABASE_URL, REDIS_URL and KAFKA_BROKERS")
	}
	c.APIs, c.Relays, c.Workers, c.Hooks = max(2, c.APIs), max(2, c.Relays), max(2, c.Workers), max(2, c.Hooks)
	root, err := stack.Workspace()
	if err != nil {
		return err
	}
	if o.mutations {
		return mutate(ctx, c, o, root, out)
	}
	fmt.Fprintf(out, "Legendary Wallet: faults for %s under %d operations a second. SEED=%d throws them in this order again.\n\n", o.duration, system.RatePerSecond, o.seed)
	r := newReport(c, o)
	fmt.Fprintf(out, "  %s\n", r.Conditions)
	s, err := system.Start(ctx, c, root, o.seed, out)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Away, r.Footprints = o.away, s.Footprints
	var chosen []system.Fault
	for _, k := range kinds.All(s) {
		if o.only.MatchString(k.Name) {
			chosen = append(chosen, k)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no fault matches %s", o.only)
	}
	err = newCampaign(s, o, r, out).run(ctx, chosen)
	if err != nil && ctx.Err() == nil {
		keepLogs(s, filepath.Join(root, ".local", fmt.Sprintf("faults-%d-%d", o.seed, os.Getpid())), out)
	}
	if o.report != "" {
		err = errors.Join(err, r.write(o.report, r.name(c, o)))
	}
	return err
}

// newReport knows how and where the campaign runs.
func newReport(c stack.Config, o options) *report {
	backing := c.Kafka
	if c.Brokers > 1 {
		backing += fmt.Sprintf(" BROKERS=%d", c.Brokers)
	}
	if c.Standbys > 0 {
		backing += fmt.Sprintf(" STANDBYS=%d", c.Standbys)
	}
	if c.Redis != "" {
		backing += " REDIS=" + c.Redis
	}
	r := &report{
		Date: time.Now().UTC(), Seed: o.seed, Conditions: conditions(backing),
		Command: fmt.Sprintf("make faults KAFKA=%s SEED=%d DURATION=%s", backing, o.seed, o.duration),
	}
	if o.drill {
		r.Command = fmt.Sprintf("make faults KAFKA=%s SEED=%d ARGS=-drill", backing, o.seed)
	} else if rest := o.rest(); rest != "" {
		r.Command += fmt.Sprintf(" ARGS='%s'", rest)
	}
	return r
}

// keepLogs copies the logs of all processes out of the state that is about to be removed.
func keepLogs(s *system.System, folder string, out io.Writer) {
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(s.Stack.State.Dir, "logs"))); err == nil {
		fmt.Fprintf(out, "\n  The logs of all processes are in %s.\n", folder)
	}
}
