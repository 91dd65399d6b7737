package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// A shell runs ctl.
type shell struct {
	t       testing.TB
	environ []string
}

func newShell(t testing.TB, database testdb.Database) shell {
	t.Helper()
	return shell{t, []string{"DATABASE_URL=" + database.URL, "KAFKA_BROKERS=" + requiredSetting(t, "TEST_KAFKA_BROKERS")}}
}

func requiredSetting(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run `make test`", name)
	}
	return value
}

// expect runs a command and checks its exit code and that it says something.
func (s shell) expect(command, stdin string, code int, says string) {
	s.t.Helper()
	var output bytes.Buffer
	got := run(s.t.Context(), strings.Split(command, " "), s.environ, strings.NewReader(stdin), &output, &output)
	if got != code || !strings.Contains(output.String(), says) {
		s.t.Errorf("ctl %s: exit code %d, want %d and %q:\n%s", command, got, code, says, &output)
	}
}

func TestTopicsAreCreatedOnceAndKeepTheirPartitions(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	s := newShell(t, database)
	topic := "ctl-test-" + uuid.NewString()
	s.expect("topic create "+topic+" --partitions 3 --retention 240h", "", 0, "3 partitions and is registered")
	s.expect("topic create --partitions 3 "+topic, "", 0, "3 partitions and is registered")
	s.expect("topic create "+topic+" --partitions 4", "", 1, "is registered with 3 partitions")

	// Created at Kafka, but not registered: as if ctl had died between the two.
	if _, err := database.Conn(t).Exec(t.Context(), "DELETE FROM outbox_topics"); err != nil {
		t.Fatal(err)
	}
	s.expect("topic create "+topic+" --partitions 4", "", 1, "exists at kafka with 3 partitions, not 4")
	s.expect("topic create "+topic+" --partitions 3", "", 0, "3 partitions and is registered")

	s.expect("topic create "+topic, "", 2, "--partitions is required")
	s.expect("topic create --partitions 3", "", 2, "usage: ctl topic create NAME... --partitions N")
	s.expect("topic create "+topic+"-3 --partitions 3 --replication-factor 3", "", 1, "create topic at kafka")

	s.expect("topic create "+topic+" "+topic+"-events --partitions 3", "", 0, topic+"-events has 3 partitions and is registered")
	s.expect("topic create "+topic+" "+topic+"-more --partitions 4", "", 1, "is registered with 3 partitions")
	s.expect("topic create "+topic+"  --partitions 3", "", 0, "3 partitions and is registered") // the second has no name
}

func TestRowsAreParkedAndUnparked(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	s := newShell(t, database)
	conn := database.Conn(t)
	insert(t, conn, 3)
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay', '1:1:', 1, 1)")
	s.expect("relay park 2", "", 2, "--reason is required")
	s.expect("relay park two --reason x", "", 2, "ID is the number")
	s.expect("relay park 9 --reason x", "", 1, "there is no outbox row 9")
	s.expect("relay park 2 --reason too-large", "no\n", 1, "it is never published")
	s.expect("relay park 2 --reason too-large", "yes\n", 0, "outbox row 2 (topic t, key k) is parked")
	s.expect("relay park 2 --reason again --yes", "", 0, "was parked before")
	s.expect("relay parked", "", 0, "too-large")
	s.expect("relay unpark 2 --yes --reason mended", "", 0, "outbox row 2 is published in its place")
	s.expect("relay unpark 2 --yes --reason mended", "", 1, "is not parked")
	s.expect("relay park 2 --reason too-large --yes", "", 0, "is parked")
	execute(t, conn, "UPDATE relay_positions SET cur = pg_current_snapshot(), after_id = 2, last_id = 3")
	s.expect("relay unpark 2 --yes --reason mended", "", 1, "passed over already")
	s.expect("relay park 1 --reason x", "", 1, "published already")
	s.expect("relay park 3 --reason x", "no\n", 1, "it is never published")
	execute(t, conn, "UPDATE relay_positions SET prev = pg_current_snapshot()")
	s.expect("relay unpark 2 --yes --reason mended", "", 1, "passed over already")
	s.expect("relay park 3 --reason x", "", 1, "published already")
	// The events are behind: the row is one of theirs.
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay/events', '1:1:', 1, 1)")
	s.expect("relay park 3 --reason x --yes", "", 0, "is parked")
	execute(t, conn, "UPDATE outbox SET topic = 'wallet-operations' WHERE id = 1")
	s.expect("relay park 1 --reason x", "", 1, "published already")
}

func TestRelaysArePausedAndResumed(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	s := newShell(t, database)
	conn := database.Conn(t)
	for _, step := range []struct {
		command string
		paused  bool
	}{{"relay pause --reason upgrade --yes", true}, {"relay pause --reason again --yes", true}, {"relay resume --reason done --yes", false}} {
		s.expect(step.command, "", 0, "wallet-relay")
		var paused bool
		if err := conn.QueryRow(t.Context(), "SELECT paused_at IS NOT NULL FROM relay_controls WHERE relay = 'wallet-relay'").Scan(&paused); err != nil || paused != step.paused {
			t.Errorf("%s: paused = %v, %v", step.command, paused, err)
		}
	}
	s.expect("relay pause", "", 2, "--reason is required")
	s.expect("relay pause --reason x --yes", "", 0, "no relay of that name has published here so far")
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay', '1:1:', 1, 1)")
	s.expect("relay pause --reason x --yes", "", 0, "it heeds it within a second")
}

func TestRebaseAsksAndOnlyThenBeginsAnew(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	s := newShell(t, database)
	conn := database.Conn(t)
	insert(t, conn, 3)
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay', pg_current_snapshot(), 1, 1)")
	execute(t, conn, "UPDATE outbox SET xid = '99999999999' WHERE id = 2")
	position := func() (rebased bool) {
		t.Helper()
		err := conn.QueryRow(t.Context(), `SELECT prev::text = '1:1:' AND system_identifier = (SELECT system_identifier FROM pg_control_system())
			AND NOT EXISTS (SELECT FROM outbox WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())) FROM relay_positions`).Scan(&rebased)
		if err != nil {
			t.Fatal(err)
		}
		return rebased
	}
	s.expect("relay rebase --reason r", "no\n", 1, "at most 3")
	s.expect("relay rebase --reason r", "", 1, "not done")
	if position() {
		t.Error("rebased without a yes")
	}
	s.expect("relay rebase --reason r", "yes\n", 0, "done")
	if !position() {
		t.Error("not rebased")
	}
	s.expect("relay rebase --reason r --yes", "", 0, "nothing to do")
}

func TestMistakesOfTheCallerAreToldApart(t *testing.T) {
	t.Parallel()
	s := shell{t, nil}
	s.expect("", "", 2, "usage: ctl COMMAND")
	s.expect("relay", "", 2, "relay rebase")
	s.expect("relay parked", "", 2, "DATABASE_URL is required")
	s.expect("relay parked now", "", 2, "want 0 arguments")
	s.expect("relay rebase -h", "", 0, "usage: ctl relay rebase")
	s.expect("relay rebase --no", "", 2, "flag provided but not defined")
	s.environ = []string{"DATABASE_URL=postgres://localhost:1/none"}
	s.expect("relay parked", "", 1, "connect to postgres")
}

func insert(t testing.TB, conn *pgx.Conn, rows int) {
	t.Helper()
	for range rows {
		execute(t, conn, "INSERT INTO outbox (topic, key, payload) VALUES ('t', 'k', '')")
	}
}

func execute(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(testdb.New(t).URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shell{t, []string{"DATABASE_URL_FILE=" + path}}.expect("keys list", "", 0, "CLIENT")
	shell{t, []string{"DATABASE_URL_FILE=/nowhere"}}.expect("keys list", "", 2, "DATABASE_URL_FILE: open /nowhere")
}
