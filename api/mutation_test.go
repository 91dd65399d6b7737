package main

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

var mutations = []mutation.Mutation{
	mutation.Of("accept: operations are looked up by a later statement than the lock", "TestAnOperationCommittedWhileTheFlushWaitedIsFound", "flush.go",
		"if err := s.lock(ctx, q, wallets, m.skipHeld); err != nil { return err } if !m.lookup { return nil }",
		"if !m.lookup { return s.lock(ctx, q, wallets, m.skipHeld) }",
		"s.operations[found[i].ID] = &found[i] } return err",
		"s.operations[found[i].ID] = &found[i] }; if err != nil { return err }; return s.lock(ctx, q, wallets, m.skipHeld)",
	),
	mutation.Of("accept: the clock is read by a later statement than the lock", "TestTheClockIsReadOnceTheWalletIsLocked", "flush.go",
		"rows, err := lock(ctx, wallets)", "var err error; if s.clock, err = q.ReadClock(ctx); err != nil { return err }; rows, err := lock(ctx, wallets)",
		"if s.clock, err = q.ReadClock(ctx); err != nil || !skipHeld { return err }", "if !skipHeld { return nil }",
	),
	mutation.Of("accept: a time is not before the last one of its wallet", "TestAClockThatWasSetBack", "accept.go",
		"if ahead > 0 && ahead <= clockStep {", "if false {",
	),
	mutation.Of("accept: a clock that was set back far is taken as it is", "TestAClockThatWasSetBack", "accept.go",
		"if ahead > 0 && ahead <= clockStep {", "if ahead > 0 {",
	),
}

// The code has changed if this fails: change the mutation with it.
func TestMutationsApply(t *testing.T) {
	t.Parallel()
	mutation.Apply(t, mutations)
}
