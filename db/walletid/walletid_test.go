package walletid

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// inPath is how a proxy reads the cell. A group that merely begins with an 8 is none: of the other versions'
// ids one in four has one after the third hyphen.
var inPath = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-8([0-9a-fA-F]{3})-`)

func mustReadBack(t *testing.T, id uuid.UUID, cell int) {
	t.Helper()
	if id.Version() != 8 || id.Variant() != uuid.RFC4122 {
		t.Fatalf("%s has version %d and variant %s", id, id.Version(), id.Variant())
	}
	if got := Cell(id); got != cell {
		t.Fatalf("%s was made in cell %d and names %d", id, cell, got)
	}
	for _, text := range []string{id.String(), strings.ToUpper(id.String())} {
		found := inPath.FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("a proxy finds no cell in %s", text)
		}
		if got, err := strconv.ParseInt(found[1], 16, 0); err != nil || int(got) != cell {
			t.Fatalf("a proxy reads cell %d in %s, want %d", got, text, cell)
		}
	}
}

func TestTheCellIsReadBackFromEveryIDOfEveryCell(t *testing.T) {
	t.Parallel()
	for cell := 1; cell <= MaxCell; cell++ {
		for range 10 {
			id, err := New(cell)
			if err != nil {
				t.Fatal(err)
			}
			mustReadBack(t, id, cell)
			mustReadBack(t, Keyed(cell, fmt.Sprint("client\x00", rand.Uint64())), cell)
		}
	}
}

func TestTheCellIsReadFromVersion8OfAnyGenerator(t *testing.T) {
	t.Parallel()
	for range 100_000 {
		id, cell := uuid.New(), rand.IntN(Buckets)
		id[6], id[7], id[8] = 8<<4|byte(cell>>8), byte(cell), byte(rand.UintN(256)) // of any variant
		found := inPath.FindStringSubmatch(id.String())
		if got := Cell(id); got != cell || found == nil || found[1] != fmt.Sprintf("%03x", cell) {
			t.Fatalf("%s names cell %d, to a proxy %v; want %d", id, got, found, cell)
		}
	}
}

// others makes ids as other generators do.
var others = map[string]func() (uuid.UUID, error){
	"v1":     uuid.NewUUID,
	"v3":     func() (uuid.UUID, error) { return uuid.NewMD5(uuid.New(), []byte("x")), nil },
	"v4":     uuid.NewRandom,
	"v5":     func() (uuid.UUID, error) { return uuid.NewSHA1(uuid.New(), []byte("x")), nil },
	"v6":     uuid.NewV6,
	"v7":     uuid.NewV7,
	"cell 0": func() (uuid.UUID, error) { return New(0) },
	"keyed":  func() (uuid.UUID, error) { return Keyed(0, fmt.Sprint(rand.Uint64())), nil },
	"any but version 8": func() (id uuid.UUID, err error) {
		for i := range id {
			id[i] = byte(rand.UintN(256))
		}
		if id[6]>>4 == 8 {
			id[6] ^= 0x10
		}
		return id, nil
	},
	"zeros": func() (uuid.UUID, error) { return uuid.Nil, nil },
	"ones":  func() (uuid.UUID, error) { return uuid.Max, nil },
}

func TestEveryOtherIDIsCell0s(t *testing.T) {
	t.Parallel()
	for name, generate := range others {
		for range 20_000 {
			id, err := generate()
			if err != nil {
				t.Fatal(err)
			}
			if cell := Cell(id); cell != 0 || inPath.MatchString(id.String()) {
				t.Fatalf("%s: %s names cell %d", name, id, cell)
			}
		}
	}
}

func TestCell0MakesWhatWasMadeBeforeThereWereCells(t *testing.T) {
	t.Parallel()
	if id, err := New(0); err != nil || id.Version() != 7 {
		t.Errorf("%s, version %d, %v", id, id.Version(), err)
	}
	if got := Keyed(0, "shop\x00k").String(); got != "f4e36031-bf36-5eab-9579-beb5621f5ee2" {
		t.Errorf("a key makes %s, a wallet that it did not make before", got)
	}
}

// A retry may come after any upgrade.
func TestAKeyMakesTheSameIDForEver(t *testing.T) {
	t.Parallel()
	for cell, want := range map[int]string{
		1: "196c5065-269f-8001-9c59-e6084ff4fbbb", 4095: "196c5065-269f-8fff-9c59-e6084ff4fbbb",
	} {
		if got := Keyed(cell, "shop\x00k").String(); got != want {
			t.Errorf("in cell %d: %s, want %s", cell, got, want)
		}
	}
}

func TestKeysShareNoID(t *testing.T) {
	t.Parallel()
	made := map[uuid.UUID]string{}
	for _, cell := range []int{0, 1, 2, MaxCell} {
		for i := range 50_000 {
			id, name := Keyed(cell, fmt.Sprint("shop\x00", i)), fmt.Sprint(cell, " ", i)
			if other, taken := made[id]; taken {
				t.Fatalf("%s and %s make %s", name, other, id)
			}
			made[id] = name
		}
	}
}

func TestIDsAreInOrderByTheMillisecond(t *testing.T) {
	t.Parallel()
	for range 50_000 {
		cell, at := 1+rand.IntN(MaxCell), time.UnixMilli(rand.Int64N(1<<48-1))
		earlier, err := newAt(cell, at)
		if err != nil {
			t.Fatal(err)
		}
		later, err := newAt(1+rand.IntN(MaxCell), at.Add(time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Compare(earlier[:], later[:]) >= 0 {
			t.Fatalf("%s of %s is not before %s, of a millisecond later", earlier, at, later)
		}
	}
}

// Two processes may make ids in the same millisecond.
func TestIDsOfOneMillisecondDiffer(t *testing.T) {
	t.Parallel()
	made, now := map[uuid.UUID]bool{}, time.Now()
	for range 100_000 {
		id, err := newAt(7, now)
		if err != nil || made[id] {
			t.Fatalf("%s is made twice (%v)", id, err)
		}
		made[id] = true
	}
}

func TestBucketsNeverChange(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int{"": 0, "a": 3651, "123456789": 0xcbf43926 % 4096, "größe": 2441} {
		if got := Bucket(key); got != want {
			t.Errorf("%q is in bucket %d, want %d", key, got, want)
		}
	}
}

func TestKeysFallIntoAllBucketsAlike(t *testing.T) {
	t.Parallel()
	const each = 100
	for name, key := range map[string]func(int) string{
		"numbers": func(i int) string { return fmt.Sprint("order-", i) },
		"uuids":   func(int) string { return uuid.NewString() },
	} {
		var halves [2]int
		counts := make([]int, Buckets)
		for i := range each * Buckets {
			bucket := Bucket(key(i))
			counts[bucket]++
			halves[bucket*2/Buckets]++
		}
		for bucket, count := range counts {
			if count < each/3 || count > each*3 {
				t.Errorf("%s: %d in bucket %d, want about %d", name, count, bucket, each)
			}
		}
		if share := float64(halves[0]) / (each * Buckets); share < 0.49 || share > 0.51 {
			t.Errorf("%s: %.3f are in the first half of the buckets", name, share)
		}
	}
}
