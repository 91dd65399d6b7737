package walletid

import (
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
)

var mutations = []mutation.Mutation{
	mutation.Of("ids: version 8 alone names a cell", "TestEveryOtherIDIsCell0s", "walletid.go",
		"\tif id.Version() != version {\n\t\treturn 0\n\t}\n", ""),
	mutation.Of("ids: a key makes the same id each time", "TestAKeyMakesTheSameIDForEver", "walletid.go",
		"uuid.NewHash(sha256.New(), keyNamespace", "uuid.NewHash(sha256.New(), uuid.New()"),
	mutation.Of("ids: cell 0 makes what it made before there were cells", "TestCell0MakesWhatWasMadeBeforeThereWereCells", "walletid.go",
		"\tif cell == 0 {\n\t\treturn uuid.NewSHA1(keyNamespace, []byte(name))\n\t}\n", ""),
	mutation.Of("ids: all twelve bits are the cell's", "TestTheCellIsReadBackFromEveryIDOfEveryCell", "walletid.go",
		"uint16(cell)&MaxCell", "uint16(cell)&0xff"),
	mutation.Of("ids: they are in order", "TestIDsAreInOrderByTheMillisecond", "walletid.go",
		"copy(id[:6], milliseconds[2:])", ""),
	mutation.Of("buckets: a key's bucket never changes", "TestBucketsNeverChange", "walletid.go",
		"crc32.ChecksumIEEE([]byte(key))", "crc32.Checksum([]byte(key), crc32.MakeTable(crc32.Castagnoli))"),
}

// The code has changed if this fails: change the mutation with it.
func TestMutationsApply(t *testing.T) {
	t.Parallel()
	mutation.Apply(t, mutations)
}
