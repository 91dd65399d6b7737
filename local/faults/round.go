package faults

import (
	"context"
	"fmt"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/faults/system"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// round is what came of one.
type round struct {
	thrown               []thrown
	loaded               time.Duration
	accepted, unanswered int64
	violations           []string
	receipt              check.Receipt // of the receiver of webhooks
}

// thrown is what came of one fault.
type thrown struct {
	kind                              string
	began, ended                      time.Time
	recovery, worst, accept, takeover time.Duration
}

// throwRound throws some faults, one after the other. An error means that the campaign cannot go on; what
// speaks against the system is a violation.
func throwRound(ctx context.Context, s *system.System, kinds []system.Fault) (r round, err error) {
	prepared := func() bool { err = s.PrepareRound(ctx); return err == nil }
	if !proc.Await(ctx, system.AbandonAfter, prepared) {
		return r, err
	}
	began := time.Now()
	told := s.UnderLoad(ctx, func() {
		const aMoment = 300 * time.Millisecond
		if _, late := s.AwaitWorking(ctx, system.OfService, aMoment); late != "" && !s.Unhurried {
			s.Watch.Violate("before the fault: %s", late)
		}
		// The order is by name, which is what the seed and a report know a fault by.
		for _, k := range kinds {
			t, err := throw(ctx, s, k)
			if err != nil {
				s.Watch.Violate("%s could not be thrown: %v", k.Name, err)
				break
			}
			r.thrown = append(r.thrown, t)
		}
	})
	defer s.Watch.End()
	r.loaded, r.accepted, r.unanswered = time.Since(began), s.Load.Accepted.Load(), s.Load.Failures.Load()
	for i := range r.thrown {
		r.thrown[i].accept = worstAccept(told, r.thrown[i].began, r.thrown[i].ended)
	}
	if ctx.Err() != nil {
		return r, proc.ErrInterrupted
	}
	broken, receipt, err := s.CheckRound(ctx, kinds, append(told, s.Told...))
	r.receipt = receipt
	r.violations = append(s.Watch.Stop(), broken...)
	return r, err
}

// throw throws a fault and waits until the system works again.
func throw(ctx context.Context, s *system.System, k system.Fault) (t thrown, err error) {
	proc.Pause(ctx, time.Duration(s.Random.Int64N(int64(300*time.Millisecond))))
	s.Takeover.Store(0)
	s.Watch.Expect(k)
	t = thrown{kind: k.Name, began: time.Now()}
	// What is stopped goes on even if the campaign is interrupted: nothing else could end it.
	heal := func() error { return k.Heal(context.WithoutCancel(ctx)) }
	if err := k.Throw(ctx); err != nil {
		return t, fmt.Errorf("throw: %w", err)
	}
	if k.Heal != nil && k.Holds > 0 {
		proc.Pause(ctx, k.Holds)
		s.Watch.CheckReported(k)
		if err := heal(); err != nil {
			return t, fmt.Errorf("heal: %w", err)
		}
	}
	t.recovery = s.AwaitRecovery(ctx, k.Name, k.Within)
	if k.Heal != nil && k.Holds == 0 {
		if err := heal(); err != nil {
			return t, fmt.Errorf("heal: %w", err)
		}
		s.AwaitRecovery(ctx, k.Name+", after it was over", k.Within)
	}
	t.ended, t.worst, t.takeover = time.Now(), s.Watch.Latest().Worst, time.Duration(s.Takeover.Load())
	if ctx.Err() != nil {
		return t, proc.ErrInterrupted
	}
	chains, err := s.BrokenChains(ctx)
	if err != nil {
		return t, fmt.Errorf("follow the balances: %w", err)
	}
	for _, text := range chains {
		s.Watch.Violate("%s", text)
	}
	return t, nil
}

// worstAccept is the longest that a client waited for an operation that was due in between, or was
// just under way.
func worstAccept(told []load.Operation, from, to time.Time) (worst time.Duration) {
	const underWay = 50 * time.Millisecond
	for _, op := range told {
		if !op.Answered.IsZero() && op.Due.After(from.Add(-underWay)) && op.Due.Before(to) {
			worst = max(worst, op.Answered.Sub(op.Due))
		}
	}
	return worst
}
