//go:build e2e

package main

import (
	"testing"

	removed "github.com/legendary-wallet/legendary-wallet/db/mutation"
)

func TestMutationsAreCaught(t *testing.T) {
	const test = "TestNothingIsAcknowledgedWithoutItsStandby"
	removed.Run(t, []removed.Mutation{
		removed.Of("D1: nothing of ours cuts a COMMIT's wait short", test, "../db/commit.go",
			"if c.confirmed.Load() {", "if false {",
			"\t\terr := commit(context.WithoutCancel(ctx), conn, fn)\n",
			"\t\tcut, stop := context.WithTimeout(ctx, 5*time.Second)\n\t\terr := commit(cut, conn, fn)\n\t\tstop()\n",
		),
		removed.Of("D2: what was only found is confirmed", test, "../db/walletdb/transaction.sql.go",
			"SELECT pg_logical_emit_message(true, 'wallet', '') WHERE current_setting('synchronous_standby_names') <> ''", "SELECT 1",
		),
	})
}
