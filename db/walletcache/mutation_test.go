//go:build e2e

package walletcache_test

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

var mutations = []mutation.Mutation{
	mutation.Of("Redis: an older version does not replace a newer one", "TestAStaleWriterChangesNothing", "set.lua",
		"if not entry[2] or tonumber(ARGV[1]) > tonumber(entry[2]) then", "if true then",
	),
	mutation.Of("Redis: versions are compared as numbers", "TestAStaleWriterChangesNothing", "set.lua",
		"tonumber(ARGV[1]) > tonumber(entry[2])", "ARGV[1] > entry[2]",
	),
	mutation.Of("Redis: an entry of before an invalidation counts for nothing", "TestInvalidateMakesEveryEntryUnreadable", "set.lua",
		"if entry[1] ~= generation then", "if false then",
	),
}

func TestMutationsAreCaught(t *testing.T) {
	t.Parallel()
	mutation.Run(t, mutations)
}
