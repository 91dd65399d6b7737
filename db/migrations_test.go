package db

import (
	"regexp"
	"strings"
	"testing"
)

// A migration that waits for a lock makes everyone wait who comes after it: each gives up in 3 s, in
// both directions, and is run again. CREATE INDEX CONCURRENTLY makes nobody wait. It has to be the only
// statement of its block, which is sent as one: Postgres runs several as one transaction.
func TestEveryMigrationLimitsItsLocks(t *testing.T) {
	t.Parallel()
	files, err := Migrations.ReadDir("migrations")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d migrations, %v", len(files), err)
	}
	limited := regexp.MustCompile(`^-- migrate:(up|down)(\nSET LOCAL lock_timeout = '3s';\n| transaction:false\n(CREATE (UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS|DROP INDEX CONCURRENTLY IF EXISTS) [^;]+;\s*$)`)
	for _, file := range files {
		text, err := Migrations.ReadFile("migrations/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		up, down, found := strings.Cut(string(text), "-- migrate:down")
		if !found || !limited.MatchString(up) || !limited.MatchString("-- migrate:down"+down) {
			t.Errorf("%s: want `-- migrate:up` and `-- migrate:down`, each followed by SET LOCAL lock_timeout = '3s'; or an index made or dropped CONCURRENTLY, alone", file.Name())
		}
	}
}
