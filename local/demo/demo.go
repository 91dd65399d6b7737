// Package demo shows the whole system for ten seconds and checks it.
package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/term"

	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

const (
	ratePerSecond = 1000
	duration      = 10 * time.Second
)

// Run runs the whole system in temporary state, sends operations to one wallet and checks every
// promise.
func Run(ctx context.Context, c stack.Config, out io.Writer) error {
	root, err := stack.Workspace()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Legendary Wallet: one wallet takes %d operations a second for %.0f s, then every promise is checked.\n\n", ratePerSecond, duration.Seconds())
	bin := filepath.Join(root, "bin")
	if err := stack.Build(ctx, root, bin, out); err != nil {
		return err
	}
	state, err := proc.TemporaryState()
	if err != nil {
		return err
	}
	defer state.Close()
	began := time.Now()
	if c.Cells > 1 {
		return runCells(ctx, state, c, bin, began, out)
	}
	s := stack.New(state, c, bin, out)
	if c.Secure {
		if s.Backing.Secure, err = servers.NewSecured(filepath.Join(state.Dir, "certificates")); err != nil {
			return err
		}
	}
	if err := s.Start(ctx, c); err != nil {
		return err
	}
	defer s.Stop()
	err = show(ctx, s, "", c.Hooks > 0 && c.EventsTopic != "", began, out)
	if ctx.Err() != nil {
		return proc.ErrInterrupted
	}
	return err
}

// show sends operations to a stack that was begun to be started at a time, and checks it, its webhooks too. The cell
// is empty where there is only one.
func show(ctx context.Context, s *stack.Stack, cell string, webhooks bool, began time.Time, out io.Writer) error {
	wallets, err := load.OpenWalletsIn(cell, s.APIURLs[0], s.APIKey, 1)
	if err != nil {
		return err
	}
	opened := time.Since(began)
	conn, err := pgx.Connect(ctx, s.Backing.DatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var told *told
	if webhooks {
		if told, err = tell(s, wallets[0]); err != nil {
			return err
		}
		defer told.Close()
	}
	first := &load.Load{APIs: s.APIURLs, APIKey: s.APIKey, Wallets: wallets, Connections: 1, RatePerSecond: 1, Duration: time.Second, Attempt: time.Second, Patience: time.Minute}
	history := first.Send(ctx)
	if _, err := check.AwaitIdle(ctx, conn, 30*time.Second); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n  %s opened wallet %s after %.1f s; its first operation was applied after %.1f s\n",
		s.APIURLs[0], wallets[0], opened.Seconds(), time.Since(began).Seconds())
	fmt.Fprintf(out, "  while it runs, %s/console/#/wallets/%s shows it, to who signs in with the key\n  %s\n\n", s.APIURLs[0], wallets[0], s.APIKey)
	loaded, err := sendLoad(ctx, s, wallets, out)
	if err != nil {
		return err
	}
	moved, err := sendMoney(ctx, s, cell, wallets[0], out)
	if err != nil {
		return err
	}
	if told != nil {
		if err := told.show(ctx, conn, out); err != nil {
			return err
		}
	}
	checked := check.Subject{
		Log:    check.TopicLog{Options: s.KafkaOptions(), Topic: s.Topic, Partitions: stack.TopicPartitions},
		Events: check.TopicLog{Options: s.KafkaOptions(), Topic: s.EventsTopic, Partitions: stack.TopicPartitions},
		Audit:  s.Verify,
	}
	invariants, err := checked.Check(ctx, conn, slices.Concat(history, loaded, moved))
	if err != nil {
		return err
	}
	return check.Print(out, invariants)
}

// sendLoad sends the operations and prints how long they took.
func sendLoad(ctx context.Context, s *stack.Stack, wallets []uuid.UUID, out io.Writer) ([]load.Operation, error) {
	l := &load.Load{
		APIs: s.APIURLs, APIKey: s.APIKey, Wallets: wallets, Connections: 200,
		RatePerSecond: ratePerSecond, Duration: duration, ResendPercent: 2,
		Attempt: 12 * time.Second, Patience: time.Minute,
	}
	var applied atomic.Int64
	const before = 1 // the first operation
	watch, err := load.WatchApplied(ctx, s.Backing.DatabaseURL, wallets, load.WatchEvery, func(sum int64) { applied.Store(sum - before) })
	if err != nil {
		return nil, err
	}
	progressCtx, endProgress := context.WithCancel(ctx)
	progressEnded := make(chan struct{})
	go func() { showProgress(progressCtx, out, l, &applied); close(progressEnded) }()
	history := l.Send(ctx)
	sending := time.Since(l.Start)
	deadline := time.Now().Add(30 * time.Second)
	for ctx.Err() == nil && applied.Load() < l.Accepted.Load() && time.Now().Before(deadline) {
		time.Sleep(load.WatchEvery)
	}
	endProgress()
	<-progressEnded
	if err := watch.Stop(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, proc.ErrInterrupted
	}
	printLoad(out, l, sending, history, watch)
	if l.Failures.Load() > 0 {
		return nil, fmt.Errorf("%d operations were not accepted; the last: %s", l.Failures.Load(), *l.LastFail.Load())
	}
	return history, nil
}

// sendMoney pays another wallet ten times, holds an amount and captures a part of it, and prints how long that
// took until it was settled.
func sendMoney(ctx context.Context, s *stack.Stack, cell string, wallet uuid.UUID, out io.Writer) ([]load.Operation, error) {
	others, err := load.OpenWalletsIn(cell, s.APIURLs[0], s.APIKey, 1)
	if err != nil {
		return nil, err
	}
	l := &load.Load{APIs: s.APIURLs, APIKey: s.APIKey, Prefer: "wait=10", Attempt: 12 * time.Second, Patience: time.Minute}
	transfers := make([]load.Operation, 10)
	for i := range transfers {
		transfers[i] = load.Operation{Wallet: wallet, Kind: "TRANSFER", Amount: 100, Target: others[0]}
	}
	const held, captured = 500, 200
	transfers = l.SendThese(ctx, transfers...)
	hold := l.SendThese(ctx, load.Operation{Wallet: wallet, Kind: "HOLD", Amount: held})
	capture := l.SendThese(ctx, load.Operation{Wallet: wallet, Kind: "CAPTURE", Amount: captured, Subject: hold[0].ID})
	if l.Failures.Load() > 0 {
		return nil, fmt.Errorf("%d operations were not accepted; the last: %s", l.Failures.Load(), *l.LastFail.Load())
	}
	worst := time.Duration(0)
	for _, op := range transfers {
		worst = max(worst, op.Answered.Sub(op.SentAt))
	}
	fmt.Fprintf(out, "  10 transfers to another wallet, each settled within %d ms; of a hold of %d %d were captured, within %d ms of each other\n\n",
		worst.Milliseconds(), held, captured, capture[0].Answered.Sub(hold[0].SentAt).Milliseconds())
	return slices.Concat(transfers, hold, capture), nil
}

func printLoad(out io.Writer, l *load.Load, sending time.Duration, history []load.Operation, watch *load.AppliedWatch) {
	resent := 0
	for _, op := range history {
		if op.Attempts > 1 {
			resent++
		}
	}
	fmt.Fprintf(out, "\n  %d operations accepted in %.1f s, %.0f/s; %d of them sent again with the same key; %d errors\n\n",
		l.Accepted.Load(), sending.Seconds(), float64(l.Accepted.Load())/sending.Seconds(), resent, l.Failures.Load())
	accept, applied := load.Latencies(history, watch)
	fmt.Fprintf(out, "  %-20s %8s %8s %8s\n", "from when it was due", "p50", "p99", "max")
	fmt.Fprintln(out, load.Percentiles("until accepted", accept))
	fmt.Fprintln(out, load.Percentiles("until applied", applied))
	fmt.Fprintln(out)
}

// showProgress draws a bar on a terminal, and writes a line a second elsewhere.
func showProgress(ctx context.Context, out io.Writer, l *load.Load, applied *atomic.Int64) {
	terminal := isTerminal(out)
	every := time.Second
	if terminal {
		every = 100 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	total := int64(l.Duration.Seconds()) * int64(l.RatePerSecond)
	for {
		ended := false
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		counts := fmt.Sprintf("%6d sent %6d accepted %6d applied", l.Sent.Load(), l.Accepted.Load(), applied.Load())
		switch {
		case terminal:
			const width = 30
			filled := min(width, int(applied.Load()*width/total))
			fmt.Fprintf(out, "\r  [%s%s] %s", strings.Repeat("█", filled), strings.Repeat("·", width-filled), counts)
		case !ended:
			fmt.Fprintf(out, "  %s\n", counts)
		}
		if ended {
			if terminal {
				fmt.Fprintln(out)
			}
			return
		}
	}
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
