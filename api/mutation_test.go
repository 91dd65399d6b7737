//go:build e2e

package main

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

var mutations = []mutation.Mutation{
	mutation.Of("accept: operations are looked up by a later statement than the lock", "TestAnOperationCommittedWhileTheFlushWaitedIsFound", "flush.go",
		"\t\tif err := s.lock(ctx, q, wallets, m.skipHeld); err != nil {\n\t\t\treturn err\n\t\t}\n\t\tif !m.lookup {\n\t\t\treturn nil\n\t\t}\n",
		"\t\tif !m.lookup {\n\t\t\treturn s.lock(ctx, q, wallets, m.skipHeld)\n\t\t}\n",
		"\t\t\ts.operations[found[i].ID] = &found[i]\n\t\t}\n\t\treturn err\n",
		"\t\t\ts.operations[found[i].ID] = &found[i]\n\t\t}\n\t\tif err != nil {\n\t\t\treturn err\n\t\t}\n\t\treturn s.lock(ctx, q, wallets, m.skipHeld)\n",
	),
}

func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	mutation.Run(t, mutations)
}
