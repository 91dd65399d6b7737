package walletcache_test

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

var mutations = []mutation.Mutation{
	mutation.Of("Redis: an older version does not replace a newer one", "TestAStaleWriterChangesNothing", "raise.lua",
		"if not entry[2] or tonumber(ARGV[1]) > tonumber(entry[2]) or", "if true or",
	),
	mutation.Of("Redis: versions are compared as numbers", "TestAStaleWriterChangesNothing", "raise.lua",
		"tonumber(ARGV[1]) > tonumber(entry[2])", "ARGV[1] > entry[2]",
	),
	mutation.Of("Redis: an entry of before an invalidation counts for nothing", "TestInvalidateMakesEveryEntryUnreadable", "read.lua",
		"if entry[11] == generation then", "if entry[11] then",
	),
	mutation.Of("Redis: a reader brings nothing that it read before its entry was gone", "TestWhatWasReadBeforeAnEntryWasGoneDoesNotComeBack", "raise.lua",
		"ARGV[6] == entry[4]", "true",
	),
	mutation.Of("Redis: nothing is written to an entry of before an invalidation", "TestWhatWasReadBeforeAnEntryWasGoneDoesNotComeBack", "raise.lua",
		"if generation and entry[1] == generation then", "if true then\n  redis.call('HSET', KEYS[2], 'generation', generation or '')",
	),
	mutation.Of("Redis: nothing is read of which held and state are of an older version", "TestOlderProgramsUseTheSameEntries", "read.lua",
		"entry[3] and entry[1] == entry[2]", "entry[3]",
	),
	mutation.Of("Redis: nothing is read of which the metadata is missing", "TestOlderProgramsUseTheSameEntries", "read.lua",
		"entry[3] and entry[1] == entry[2]", "entry[7] and entry[1] == entry[2]",
	),
	mutation.Of("Redis: what an older program left out is written at the same version", "TestOlderProgramsUseTheSameEntries", "raise.lua",
		"or ARGV[1] == entry[2] and ARGV[1] ~= entry[3] then", "then",
	),
	mutation.Of("nobody shares a reading that began before", "TestReadersShareAReadingOfAfterTheyCame", "share.go",
		"return now.next, false", "return now, false",
	),
	mutation.Of("a process that has missed a write reads nothing until all entries are unreadable", "TestAProcessThatMissedSomethingReadsNothingOfBefore", "guard.go",
		"err := Renew(ctx, g.client)", "err := Touch(ctx, g.client)",
	),
	mutation.Of("nothing is told until nobody can read anything older", "TestNothingIsToldWhileOthersCanReadWhatIsOlder", "guard.go",
		"time.Since(since) > leaseOver", "time.Since(since) > 0",
	),
	mutation.Of("a write that Redis missed during an invalidation counts", "TestAWriteLeftOutDuringInvalidationCounts", "guard.go",
		"g.missed == missed", "g.missed >= missed",
	),
}

var serverMutations = []mutation.Mutation{
	mutation.Of("Redis: who cannot write does not read", "TestNothingIsReadWhereAWriteIsRefused", "read.lua",
		"redis.call('SETNX', KEYS[1], '-')", "if not redis.call('GET', KEYS[1]) then redis.call('SETNX', KEYS[1], '-') end",
	),
	mutation.Of("Redis: a generation belongs to one history of writes", "TestNothingIsReadOfAnotherHistory", "read.lua",
		"'master_replid:' .. string.sub(generation, 1, 20)", "'master_replid'",
	),
	mutation.Of("Redis: a generation that nobody renews is over", "TestNothingIsReadOfAnotherHistory", "touch.lua",
		"redis.call('SET', KEYS[1], generation, 'PX', ARGV[3])", "redis.call('SET', KEYS[1], generation)",
	),
	mutation.Of("Redis: in a new server nothing is cached until every process is there", "TestInANewServerNothingIsCachedForAWhile", "touch.lua",
		"past .. '?' .. string.format('%.0f', now + ARGV[4])", "past .. ':'",
	),
	mutation.Of("Redis: where SET is refused, DEL", "TestWithoutAnyWriteButDELNothingIsReadAtOnce", "guard.go",
		"refused(err) && forget(ctx, g.client) == nil", "false",
	),
}

// The code has changed if this fails: change the mutation with it.
func TestMutationsApply(t *testing.T) {
	t.Parallel()
	mutation.Apply(t, append(mutations, serverMutations...))
}
