package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/amacneil/dbmate/v2/pkg/dbmate"
	_ "github.com/amacneil/dbmate/v2/pkg/driver/postgres"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// TestMain lets the tests start this binary as ctl itself, to kill it.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_CTL") != "" {
		main()
	}
	m.Run()
}

// absent names a database that the server does not have yet.
func absent(t *testing.T) (database testdb.Database, name string) {
	t.Helper()
	server, err := url.Parse(requiredSetting(t, "TEST_DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	conn := testdb.Database{URL: server.String()}.Conn(t)
	name = "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	t.Cleanup(func() {
		if _, err := conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	server.Path = "/" + name
	return testdb.Database{URL: server.String()}, name
}

// empty is a database without anything. Where a migration creates something of a kind, such as TYPE, it
// waits until release is called; not for a lock, which it would give up in 3 s.
func empty(t *testing.T, kind string) (database testdb.Database, watch *pgx.Conn, release func()) {
	t.Helper()
	database, name := absent(t)
	watch = testdb.Database{URL: requiredSetting(t, "TEST_DATABASE_URL")}.Conn(t)
	execute(t, watch, "CREATE DATABASE "+name)
	conn := database.Conn(t)
	execute(t, conn, "CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN WHILE NOT pg_try_advisory_xact_lock_shared(42) LOOP PERFORM pg_sleep(0.02); END LOOP; END $$")
	execute(t, conn, "CREATE EVENT TRIGGER hold ON ddl_command_start WHEN TAG IN ('CREATE "+kind+"') EXECUTE FUNCTION hold()")
	execute(t, conn, "SELECT pg_advisory_lock(42)")
	return database, conn, func() { execute(t, conn, "SELECT pg_advisory_unlock(42)") }
}

// await waits until a query says true.
func await(t *testing.T, conn *pgx.Conn, what, query string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		var done bool
		if err := conn.QueryRow(t.Context(), query).Scan(&done); err != nil {
			t.Fatal(err)
		}
		if done {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

const (
	isHeld   = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
	fiveHeld = "SELECT count(*) >= 5 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
	fiveRuns = "SELECT count(*) >= 5 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'ctl migrate'"
)

// A process is ctl migrate, as a pipeline runs it.
type process struct {
	*exec.Cmd
	output bytes.Buffer
}

func startMigrate(t *testing.T, database testdb.Database) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], "migrate")}
	p.Env = []string{"TEST_AS_CTL=1", "DATABASE_URL=" + database.URL}
	p.Stdout, p.Stderr = &p.output, &p.output
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

func expectMigrated(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	pending, err := db.PendingMigrations(t.Context(), conn)
	if err != nil || len(pending) > 0 {
		t.Errorf("pending: %v, %v", pending, err)
	}
}

func TestFiveMigrationsAtOnceAllSucceed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		kill bool
	}{{"each goes on", false}, {"the one at work is killed", true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database, conn, release := empty(t, "TYPE")
			var processes []*process
			var killed int
			if test.kill {
				processes = append(processes, startMigrate(t, database))
				await(t, conn, "a migration is under way", isHeld)
				if err := conn.QueryRow(t.Context(), "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'ctl migrate'").Scan(&killed); err != nil {
					t.Fatal(err)
				}
			}
			for len(processes) < 5 {
				processes = append(processes, startMigrate(t, database))
			}
			await(t, conn, "all five are connected, and one is held", fiveRuns)
			await(t, conn, "a migration is under way", isHeld)
			if test.kill {
				// Its lock and its transaction end while its statement runs.
				if err := processes[0].Process.Kill(); err != nil {
					t.Fatal(err)
				}
				await(t, conn, "another goes on", strings.Replace(isHeld, "WHERE", fmt.Sprintf("WHERE pid <> %d AND", killed), 1))
			}
			release()
			applied := ""
			for i, p := range processes {
				err := p.Wait()
				if (err != nil) != (test.kill && i == 0) {
					t.Errorf("process %d: %v\n%s", i, err, &p.output)
				}
				applied += p.output.String()
			}
			expectMigrated(t, conn)
			if n := strings.Count(applied, "applied 20261124000003_outbox.sql"); n != 1 {
				t.Errorf("a migration was applied %d times\n%s", n, applied)
			}
			if !strings.Contains(applied, "migrates already") || !strings.Contains(applied, "nothing to do") {
				t.Errorf("nobody said that it waits, or that nothing is left:\n%s", applied)
			}
		})
	}
}

// What ctl migrate is for: dbmate up finds out what is pending before it does anything, and so all but one
// of several fail, though the schema is right in the end.
func TestFiveTimesDbmateUpAtOnceFail(t *testing.T) {
	t.Parallel()
	database, conn, release := empty(t, "TABLE")
	errs := upFiveTimes(t, database)
	await(t, conn, "all five have looked", fiveHeld)
	release()
	failed := 0
	for range 5 {
		if err := <-errs; err != nil {
			failed++
			t.Log(err)
		}
	}
	if failed != 4 {
		t.Errorf("%d of 5 failed", failed)
	}
}

func upFiveTimes(t *testing.T, database testdb.Database) chan error {
	t.Helper()
	errs := make(chan error, 5)
	for range 5 {
		go func() { errs <- dbmateUp(database) }()
	}
	return errs
}

func dbmateUp(database testdb.Database) error {
	u, err := url.Parse(database.URL)
	if err != nil {
		return err
	}
	m := dbmate.New(u)
	m.FS, m.MigrationsDir, m.AutoDumpSchema, m.Log = db.Migrations, []string{"migrations"}, false, new(bytes.Buffer)
	return m.Migrate()
}

func TestMigrateAndDbmateUpGoTogether(t *testing.T) {
	t.Parallel()
	t.Run("one after the other", func(t *testing.T) {
		t.Parallel()
		database, conn, release := empty(t, "TYPE")
		release()
		s := shell{t, []string{"DATABASE_URL=" + database.URL}}
		if err := dbmateUp(database); err != nil {
			t.Fatal(err)
		}
		s.expect("migrate", "", 0, "nothing to do")
		execute(t, conn, "DELETE FROM schema_migrations WHERE version = '20261128200000'")
		execute(t, conn, "ALTER TABLE wallet_sequences DROP COLUMN last_at")
		s.expect("migrate", "", 0, "done: 1 migrations applied")
		if err := dbmateUp(database); err != nil {
			t.Error(err)
		}
	})
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		database, conn, release := empty(t, "TYPE")
		up := make(chan error, 1)
		go func() { up <- dbmateUp(database) }()
		await(t, conn, "dbmate is held", isHeld)
		p := startMigrate(t, database)
		await(t, conn, "both are held", strings.Replace(isHeld, "> 0", "> 1", 1))
		release()
		if err := p.Wait(); err != nil {
			t.Errorf("%v\n%s", err, &p.output)
		}
		<-up // which may have failed
		expectMigrated(t, conn)
	})
}

func TestMigrateMakesTheDatabaseAndTheSchema(t *testing.T) {
	t.Parallel()
	database, _ := absent(t)
	var processes []*process
	for range 5 {
		processes = append(processes, startMigrate(t, database))
	}
	for _, p := range processes {
		if err := p.Wait(); err != nil {
			t.Errorf("%v\n%s", err, &p.output)
		}
	}
	expectMigrated(t, database.Conn(t))
	elsewhere := database.URL + "&search_path=elsewhere"
	s := shell{t, []string{"DATABASE_URL=" + elsewhere}}
	s.expect("status", "", 1, "no schema of search_path (elsewhere) exists")
	s.expect("migrate", "", 0, "created schema elsewhere")
	expectMigrated(t, testdb.Database{URL: elsewhere}.Conn(t))
}

func TestMigrateWaitsNoLongerThanItIsTold(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	s := shell{t, []string{"DATABASE_URL=" + database.URL}}
	execute(t, conn, "SELECT pg_advisory_lock(7304519, hashtext(''))")
	s.expect("migrate --wait 300ms", "", 1, fmt.Sprintf("session %d still migrates after 300ms", conn.PgConn().PID()))
	execute(t, conn, "SELECT pg_advisory_unlock(7304519, hashtext(''))")
	s.expect("migrate --wait 300ms", "", 0, "nothing to do")

	execute(t, conn, "DELETE FROM schema_migrations WHERE version = '20261128200000'")
	execute(t, conn, "ALTER TABLE wallet_sequences DROP COLUMN last_at")
	execute(t, conn, "BEGIN; LOCK TABLE wallet_sequences IN ROW EXCLUSIVE MODE")
	s.expect("migrate --wait 300ms", "", 1, "canceling statement due to lock timeout")
	var output bytes.Buffer
	gaveUp := &heardWriter{to: &output, word: "needs a lock that another session has", heard: make(chan struct{})}
	done := make(chan int, 1)
	go func() { done <- run(t.Context(), []string{"migrate"}, s.environ, nil, gaveUp, gaveUp) }()
	select {
	case <-gaveUp.heard:
		execute(t, conn, "ROLLBACK")
	case code := <-done:
		done <- code
	}
	if code := <-done; code != 0 || !strings.Contains(output.String(), "holds ROW EXCLUSIVE on wallet_sequences") {
		t.Errorf("exit code %d\n%s", code, &output)
	}
	shell{t, []string{"DATABASE_URL=postgres://localhost:1/none"}}.expect("migrate --wait 300ms", "", 1, "waiting for up to 0s: postgres:")
	s.expect("migrate now", "", 2, "want 0 arguments")
}

// A heardWriter tells when a word is written.
type heardWriter struct {
	to    *bytes.Buffer
	word  string
	heard chan struct{}
	once  sync.Once
}

func (w *heardWriter) Write(text []byte) (int, error) {
	if strings.Contains(string(text), w.word) {
		defer w.once.Do(func() { close(w.heard) })
	}
	return w.to.Write(text)
}

// filesOf is a folder of migrations, by their versions.
func filesOf(texts map[string]string) fstest.MapFS {
	files := fstest.MapFS{}
	for version, text := range texts {
		files["migrations/"+version+"_test.sql"] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func migrateFiles(t *testing.T, database testdb.Database, files fstest.MapFS) (string, error) {
	var output bytes.Buffer
	m := migrator{call: &call{settings: settings{databaseURL: database.URL}, stdout: &output}, files: files, until: time.Now().Add(time.Minute)}
	err := m.run(t.Context())
	return output.String(), err
}

func TestAMigrationThatFailsIsUndoneAndNamed(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn := database.Conn(t)
	files := filesOf(map[string]string{
		"1": "-- migrate:up\nCREATE TABLE a ();\n-- migrate:down\n",
		"2": "-- migrate:up\nCREATE TABLE b ();\nCREATE TABEL c ();\n-- migrate:down\n",
	})
	_, err := migrateFiles(t, database, files)
	if err == nil || !strings.Contains(err.Error(), "2_test.sql: line: 3, column: 8") {
		t.Errorf("said %v", err)
	}
	await(t, conn, "the first is applied and nothing of the second", "SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL")
	files["migrations/2_test.sql"].Data = []byte("-- migrate:up\nCREATE TABLE b ();\n-- migrate:down\n")
	if output, err := migrateFiles(t, database, files); err != nil || !strings.Contains(output, "done: 1 ") {
		t.Errorf("%s, %v", output, err)
	}
}

// A session that has no lock applies nothing: another may be at work.
func TestNothingIsAppliedWithoutTheLock(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	m := migrator{call: &call{stdout: new(bytes.Buffer)}}
	for _, options := range []string{"", " transaction:false"} {
		m.files = filesOf(map[string]string{"1": "-- migrate:up" + options + "\nCREATE TABLE a ();\n-- migrate:down\n"})
		config, err := db.Config(database.URL)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := db.ConnectUnconfirmed(t.Context(), config.ConnConfig)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		if err := m.apply(t.Context(), conn, "1_test.sql"); err == nil || !strings.Contains(err.Error(), "PgBouncer in session mode") {
			t.Errorf("said %v", err)
		}
	}
	await(t, database.Conn(t), "nothing is applied", "SELECT to_regclass('a') IS NULL")
}

func TestAnIndexThatAnotherSessionMakesIsNotDropped(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn, writer, builder := database.Conn(t), database.Conn(t), database.Conn(t)
	const create = "CREATE INDEX CONCURRENTLY IF NOT EXISTS balances ON wallets (balance)"
	files := filesOf(map[string]string{"1": "-- migrate:up transaction:false\n" + create + ";\n-- migrate:down transaction:false\nDROP INDEX CONCURRENTLY balances;\n"})
	execute(t, writer, "BEGIN; LOCK TABLE wallets IN ROW EXCLUSIVE MODE")
	built := make(chan error, 1)
	go func() {
		_, err := builder.Exec(t.Context(), create)
		built <- err
	}()
	await(t, conn, "the index is there, and not finished", "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('balances') AND NOT indisvalid)")
	var output bytes.Buffer
	says := &heardWriter{to: &output, word: "makes index balances", heard: make(chan struct{})}
	m := migrator{call: &call{settings: settings{databaseURL: database.URL}, stdout: says}, files: files, until: time.Now().Add(time.Minute)}
	migrated := make(chan error, 1)
	go func() { migrated <- m.run(t.Context()) }()
	select {
	case <-says.heard:
	case <-time.After(30 * time.Second): // it does the wrong thing
	}
	time.Sleep(300 * time.Millisecond) // for it to do the wrong thing
	execute(t, writer, "ROLLBACK")
	if err := <-built; err != nil {
		t.Errorf("who makes the index is disturbed: %v", err)
	}
	if err := <-migrated; err != nil || !strings.Contains(output.String(), fmt.Sprintf("session %d makes index balances", builder.PgConn().PID())) || strings.Contains(output.String(), "dropped") {
		t.Errorf("%v\n%s", err, &output)
	}
}

// Who makes an index says so until just before the commit that makes it valid.
func TestAnIndexThatIsFinishedRightNowIsNoMistake(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn, builder := database.Conn(t), database.Conn(t)
	files := filesOf(map[string]string{"1": "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY IF NOT EXISTS balances ON wallets (balance);\n-- migrate:down transaction:false\nDROP INDEX CONCURRENTLY balances;\n"})
	execute(t, conn, "CREATE INDEX balances ON wallets (balance)")
	execute(t, conn, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'balances'::regclass")
	execute(t, builder, "BEGIN")
	execute(t, builder, "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'balances'::regclass")
	var output string
	migrated := make(chan error, 1)
	go func() {
		var err error
		output, err = migrateFiles(t, database, files)
		migrated <- err
	}()
	await(t, conn, "ctl migrate is about to drop it", `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'DROP INDEX%')`)
	execute(t, builder, "COMMIT")
	if err := <-migrated; err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	await(t, conn, "the index is there", "SELECT indisvalid FROM pg_index WHERE indexrelid = 'balances'::regclass")
}

// CREATE INDEX CONCURRENTLY waits for every snapshot that is older. One that waited in the database for the
// migrations' lock would have such a snapshot, and each would wait for the other.
func TestAnIndexIsMadeConcurrentlyWhileOthersWaitToMigrate(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn, reader := database.Conn(t), database.Conn(t)
	files := filesOf(map[string]string{"1": "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY IF NOT EXISTS balances ON wallets (balance);\n-- migrate:down transaction:false\nDROP INDEX CONCURRENTLY balances;\n"})
	// The second run of an earlier one that was cut short finds what that has left.
	execute(t, conn, "CREATE INDEX balances ON wallets (balance)")
	execute(t, conn, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'balances'::regclass")
	execute(t, reader, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM wallets")
	var runs sync.WaitGroup
	outputs, errs := make([]string, 3), make([]error, 3)
	for i := range outputs {
		runs.Go(func() { outputs[i], errs[i] = migrateFiles(t, database, files) })
	}
	await(t, conn, "three run, and one waits for the reader", `SELECT count(*) = 3 AND count(*) FILTER (WHERE wait_event_type = 'Lock') > 0
		FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'ctl migrate'`)
	execute(t, reader, "ROLLBACK")
	runs.Wait()
	all := strings.Join(outputs, "")
	for i, err := range errs {
		if err != nil {
			t.Errorf("run %d: %v", i, err)
		}
	}
	if strings.Count(all, "applied 1_test.sql") != 1 || strings.Count(all, "left unfinished by an earlier run") != 1 {
		t.Errorf("said:\n%s", all)
	}
	await(t, conn, "the index is there", "SELECT indisvalid FROM pg_index WHERE indexrelid = 'balances'::regclass")
}
