package main

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

const (
	applySQL = "../db/walletdb/apply.sql.go"
	sweepSQL = "../db/walletdb/sweep.sql.go"
)

var mutations = []mutation.Mutation{
	mutation.Of("a wallet moves forward only", "TestAWalletNeverGoesBack", applySQL,
		"w.id = a.id AND w.applied_seq < a.applied_seq", "w.id = a.id",
	),
	mutation.Of("what is applied is not read again", "TestMessagesThatComeTwiceLateOrNeverChangeNothing", applySQL,
		"p.seq > w.applied_seq AND", "",
	),
	mutation.Of("the operations are read by a later statement than the lock", "TestTwoWorkersApplyOneWalletAtOnce", applySQL,
		"ORDER BY id FOR NO KEY UPDATE", "ORDER BY id",
		"JOIN wallets w ON w.id = t.id", "JOIN (SELECT * FROM wallets WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE) w ON w.id = t.id",
	),
	mutation.Of("the time of application is read once the wallets are locked", "TestTheTimeOfApplicationIsReadOnceTheWalletIsLocked", applySQL,
		"(SELECT clock_timestamp())", "(SELECT now())",
	),
	mutation.Of("operations are applied without gaps", "TestSimulation", "plan.go",
		"op.Seq != row.AppliedSeq+1", "false",
	),
	mutation.Of("a stuck wallet keeps the offset where it is", "TestSimulation", "partition.go",
		"if len(p.stuck) == 0 {\n\t\tp.progress.report(nil)", "{\n\t\tp.progress.report(nil)",
	),
	mutation.Of("an offset is stored after its messages are applied", "TestSimulation", "partition.go",
		"\tfailed, err := p.settle(ctx, p.targets(batch), batch)\n",
		"\tif len(batch) > 0 && len(p.stuck) == 0 {\n\t\tp.progress.store(batch[len(batch)-1].offset + 1)\n\t}\n\tfailed, err := p.settle(ctx, p.targets(batch), batch)\n",
	),
	mutation.Of("what was never accepted is not waited for", "TestASequenceThatWasNeverAcceptedIsNoError", "apply.go",
		"min(t.upTo, last[t.walletID])", "t.upTo",
	),
	mutation.Of("a message that names another operation is told of", "TestForkedHistoriesAndGapsAreSeen", "record.go",
		"applied[i].ID != m.OperationID", "false",
	),
	mutation.Of("sweep: what the outbox has and Kafka did not bring is applied", "TestTheSweepFollowsTheOutboxAtADistance", sweepSQL,
		"JOIN wallets w ON w.id = t.id WHERE w.applied_seq < t.seq", "JOIN wallets w ON w.id = t.id WHERE false",
	),
	mutation.Of("sweep: what not even the outbox has is applied", "TestTheWalkFindsWhatWasBehindInThePassBefore", "sweep.go",
		"upTo > w.AppliedSeq {", "false && upTo > 0 {",
	),
}

// The code has changed if this fails: change the mutation with it.
func TestMutationsApply(t *testing.T) {
	t.Parallel()
	mutation.Apply(t, mutations)
}
