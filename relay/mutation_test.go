package main

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

const relaySQL = "../db/walletdb/relay.sql.go"

var mutations = []mutation.Mutation{
	mutation.Of("R1: a window's rows are all published before the next window", "TestSimulation", "order.go",
		"case taken < len(p.rows):\n\t\tnext.window.after = p.rows[taken-1].ID\n", "",
	),
	mutation.Of("R1: a large window is published by its own snapshot, not by the first rows found", "TestSimulation", "session.go",
		"len(rows) <= s.limits.rows {", "true {",
	),
	mutation.Of("R1: a large window is read to its end", "TestSimulation", "order.go",
		"case p.upTo < p.at.window.last:\n\t\tnext.window.after = p.upTo\n", "",
	),
	mutation.Of("R1: rows are published in id order", "TestWindowsHoldWhatBecameVisible", relaySQL,
		"AS synchronous FROM w ORDER BY id", "AS synchronous FROM w ORDER BY id DESC",
	),
	mutation.Of("R1: transactions that were running are read later", "TestWindowsHoldWhatBecameVisible", relaySQL,
		"(SELECT o.id, o.xid, o.topic, o.key, o.payload, o.headers, o.created_at FROM pg_snapshot_xip($1::pg_snapshot) x (xid)",
		"(SELECT o.id, o.xid, o.topic, o.key, o.payload, o.headers, o.created_at FROM (SELECT NULL::xid8 LIMIT 0) x (xid)",
	),
	mutation.Of("R2: a batch that failed is read again", "TestSimulation", "session.go",
		"if err := s.publish(ctx, messages); err != nil {\n\t\t\treturn 0, false, err\n\t\t}", "_ = s.publish(ctx, messages)",
	),
	mutation.Of("R2: nothing is sent behind a gap", "TestNothingIsSentBehindAGap", "kafka.go",
		`"enable.gapless.guarantee": true`, `"enable.gapless.guarantee": false`,
	),
	mutation.Of("R3: a batch is published when all of it is acknowledged", "TestAWaveIsPublishedWhenAllOfItIsAcknowledged", "kafka.go",
		"for acknowledged < len(messages) {", "for acknowledged < len(messages)-1 {",
	),
	mutation.Of("R3: a position is saved after the acknowledgement", "TestSimulation", "session.go",
		"\tif len(messages) > 0 {\n\t\tif err := s.publish", "\ts.at = page.past(taken)\n\tif len(messages) > 0 {\n\t\tif err := s.publish",
	),
	mutation.Of("R4: the registered count decides the partition", "TestSimulation", "session.go",
		"partition: partition(r.Key, partitions)", "partition: -1",
	),
	mutation.Of("parking: a parked row is skipped", "TestSimulation", "session.go",
		"if s.controls.parked[r.ID] {", "if false {",
	),
	mutation.Of("parking: the row that is to be parked is the one that Kafka rejects", "TestSimulation", "session.go",
		"errors.As(err, &rejected) && len(messages) == 1:", "errors.As(err, &rejected):",
	),
	mutation.Of("retention: a row is kept until a relay has published it", "TestRowsAreDeletedOnlyWhenOldAndPublishedByAll", relaySQL,
		"AND (SELECT bool_and(pg_visible_in_snapshot(o.xid, p.prev)) FROM positions p)", "",
	),
	mutation.Of("retention: a row is kept until every relay has published it", "TestRowsAreDeletedOnlyWhenOldAndPublishedByAll", relaySQL,
		"(SELECT bool_and(pg_visible_in_snapshot(o.xid, p.prev)) FROM positions p)", "(SELECT bool_or(pg_visible_in_snapshot(o.xid, p.prev)) FROM positions p)",
	),
	mutation.Of("leadership: one relay leads at a time", "TestOneRelayLeadsAtATime", "../db/walletdb/transaction.sql.go",
		"SELECT pg_try_advisory_lock($1::int, hashtext($2::text))::boolean AS held", "SELECT ($1::int > 0 AND $2::text <> '')::boolean AS held",
	),
	mutation.Of("a position of another database is refused", "TestAPositionFromAnotherDatabaseIsRefused", relaySQL,
		"p.system_identifier = c.system_identifier AND p.database_oid = d.oid::bigint)::boolean AS same_database", "true)::boolean AS same_database",
	),
}

// The code has changed if this fails: change the mutation with it.
func TestMutationsApply(t *testing.T) {
	t.Parallel()
	mutation.Apply(t, mutations)
}
