package main

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

var mutations = []mutation.Mutation{
	mutation.Of("accept: operations are looked up by a later statement than the lock", "TestAnOperationCommittedWhileTheFlushWaitedIsFound", "transaction.go",
		"\t\tif err := s.lock(ctx, q, wallets, m.skipLocked); err != nil {\n\t\t\treturn err\n\t\t}\n", "",
		"\t\tif !m.lookup {\n\t\t\treturn nil\n\t\t}\n", "\t\tif !m.lookup {\n\t\t\treturn s.lock(ctx, q, wallets, m.skipLocked)\n\t\t}\n",
		"\t\t\ts.operations[found[i].ID] = &found[i]\n\t\t}\n\t\treturn err\n",
		"\t\t\ts.operations[found[i].ID] = &found[i]\n\t\t}\n\t\tif err != nil {\n\t\t\treturn err\n\t\t}\n\t\treturn s.lock(ctx, q, wallets, m.skipLocked)\n",
	),
	mutation.Of("accept: what is referred to is looked up by a later statement than the lock", "TestAHoldCommittedWhileTheFlushWaitedIsFound", "transaction.go",
		"\t\tif err := s.lock(ctx, q, wallets, m.skipLocked); err != nil {\n\t\t\treturn err\n\t\t}\n\t\tif err := s.find(ctx, q, refers); err != nil {\n",
		"\t\tif err := s.find(ctx, q, refers); err != nil {\n\t\t\treturn err\n\t\t}\n\t\tif err := s.lock(ctx, q, wallets, m.skipLocked); err != nil {\n",
	),
	mutation.Of("accept: a wallet's hold is none of another wallet", "TestAcceptRefusesWhatCanNeverBe", "accept.go",
		"found = found && subject.walletID == r.walletID", "",
	),
	mutation.Of("accept: only a hold is captured", "TestAcceptRefusesWhatCanNeverBe", "accept.go",
		"(!found || subject.kind != walletdb.OperationTypeHOLD)", "!found",
	),
	mutation.Of("accept: what went to another wallet is not reversed", "TestAcceptRefusesWhatCanNeverBe", "accept.go",
		"return !s.target", "return true",
	),
	mutation.Of("accept: nothing goes from one tenant to another", "TestAcceptRefusesWhatCanNeverBe", "accept.go",
		" || to.Tenant != from.Tenant", "",
	),
	mutation.Of("accept: nothing goes to a wallet of another currency", "TestAcceptRefusesWhatCanNeverBe", "accept.go",
		"to.Currency != from.Currency", "false",
	),
	mutation.Of("accept: a known key is known, whatever else is wrong", "TestAKeyIsRecognizedBeforeWhatItRefersTo", "transaction.go",
		"!m.lookup && mayBeKnown(requests, answers)", "false",
	),
	mutation.Of("accept: the clock is read by a later statement than the lock", "TestTheClockIsReadOnceTheWalletIsLocked", "transaction.go",
		"\tvar rows []walletdb.WalletSequence\n", "\tvar rows []walletdb.WalletSequence\n\tif s.clock, err = q.ReadClock(ctx); err != nil {\n\t\treturn err\n\t}\n",
		"\tif s.clock, err = q.ReadClock(ctx); err != nil || !skipLocked {\n\t\treturn err\n\t}\n", "\tif !skipLocked {\n\t\treturn nil\n\t}\n",
	),
	mutation.Of("accept: a time is not before the last one of its wallet", "TestAClockThatWasSetBack", "accept.go",
		"if ahead > 0 && ahead <= clockStep {", "if false {",
	),
	mutation.Of("accept: a clock that was set back far is taken as it is", "TestAClockThatWasSetBack", "accept.go",
		"if ahead > 0 && ahead <= clockStep {", "if ahead > 0 {",
	),
	mutation.Of("reads: what an outcome says of a wallet's state goes into the cache", "TestAWalletSaysWhatIsHeldWhereverItIsReadFrom", "cache.go",
		"w.State = *o.StateAfter", "",
	),
	mutation.Of("reads: an ETag of a release without held is never unchanged", "TestAWalletSaysWhatIsHeldWhereverItIsReadFrom", "wallets.go",
		"`\"2-`", "`\"`",
	),
	mutation.Of("reads: an operation that is out of the order of times counts for a time", "TestAWalletIsReadAsItWas", "at.go",
		"Time: after.Add(timesOff)", "Time: after",
	),
	mutation.Of("reads: an operation that is out of the order of times is in a filtered statement", "TestAFilteredStatementIsComplete", "statement.go",
		"Add(-timesOff)", "Add(0)",
	),
	mutation.Of("reads: a filtered page goes on after what it looked at", "TestAFilterLooksAtALimitedNumberOfSequences", "statement.go",
		"next = oas.NilInt64{Value: goOn, Null: goOn == 0}", "next = oas.NilInt64{Value: goOn, Null: true}",
	),
}

// The code has changed if this fails: change the mutation with it.
func TestMutationsApply(t *testing.T) {
	t.Parallel()
	mutation.Apply(t, mutations)
}
