package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/status"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestStatusSaysWhatItCanWhileATableIsLocked(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	execute(t, conn, "INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay', '1:1:', 1, 1)")
	execute(t, conn, "SET application_name = 'console'")
	for table, needs := range map[string]string{ // a table, and a section that needs it
		"wallets": "wallets", "wallet_sequences": "pending", "operations": "operations", "outcomes": "applied", "outbox": "outbox",
		"outbox_topics": "topic", "relay_positions": "relays", "relay_controls": "relays", "schema_migrations": "migrations",
		"open_holds": "holds", "tenants": "tenants", "hook_states": "webhooks",
	} {
		t.Run(table, func(t *testing.T) {
			execute(t, conn, "BEGIN; LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
			r := answer[statusReport](s, "status --json")
			s.expect("status", "", 1, "not known, because a table is locked: ")
			execute(t, conn, "ROLLBACK")
			first := fmt.Sprintf(`session %d (postgres, "console", idle in transaction) holds ACCESS EXCLUSIVE on %s for `, conn.PgConn().PID(), table)
			if r.Healthy || !strings.HasPrefix(r.Problems[0], first) || !strings.Contains(r.Problems[0], fmt.Sprintf("→ end it where it runs, or SELECT pg_terminate_backend(%d)", conn.PgConn().PID())) {
				t.Errorf("the first problem is %s, want %s", r.Problems[0], first)
			}
			if len(r.LockHolders) != 1 || r.LockHolders[0].Application != "console" {
				t.Errorf("lock holders: %+v", r.LockHolders)
			}
			if why := r.why(needs); why != status.Locked {
				t.Errorf("%s: %q; unknown: %v", needs, why, r.Unknown)
			}
			known := map[string]bool{"wallets": r.Wallets != nil, "operations": r.Accepted != nil, "applied": r.AppliedPerSecond != nil, "outbox": r.Outbox != nil, "pending": r.Pending != nil, "relays": r.Relays != nil, "topic": r.Partitions != nil, "transit": r.InTransit != nil, "holds": r.LateHolds != nil, "tenants": r.DisabledTenants != nil, "webhooks": r.Webhooks != nil}
			for section, isKnown := range known {
				if isKnown == (r.why(section) != "") {
					t.Errorf("%s is known: %v, and said to be unknown: %q", section, isKnown, r.why(section))
				}
			}
			if r.Processes == nil || r.Kafka == nil || len(r.Unknown) > 4 {
				t.Errorf("too much is not known: %v", r.Unknown)
			}
		})
	}
}

// Who blocks others for a second is named before its transaction is old.
func TestStatusNamesWhoIsWaitedFor(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	console, waiter, watch := database.Conn(t), testdb.Database{URL: database.As(testdb.Worker)}.Conn(t), database.Conn(t)
	execute(t, console, history)
	execute(t, console, "BEGIN; UPDATE wallets SET balance = 7 WHERE id = w(1)")
	done := make(chan error, 1)
	go func() {
		_, err := waiter.Exec(t.Context(), "SELECT FROM wallets WHERE applied_seq = 30 FOR NO KEY UPDATE")
		done <- err
	}()
	await(t, watch, "it has waited for a second", "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND waitstart < clock_timestamp() - interval '1 s' AND pid = "+fmt.Sprint(waiter.PgConn().PID()))
	var r statusReport
	if err := r.addLockHolders(t.Context(), walletdb.New(watch), time.Hour, ""); err != nil {
		t.Fatal(err)
	}
	if len(r.LockHolders) != 1 || r.LockHolders[0].PID != int32(console.PgConn().PID()) || !strings.Contains(r.Problems[0], "it blocks worker (1 session)") {
		t.Errorf("%v", r.Problems)
	}
	execute(t, console, "ROLLBACK")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// With any part of the migrations, none included, status says what is pending and no word of SQL.
func TestStatusOfADatabaseWithSomeOfItsMigrations(t *testing.T) {
	t.Parallel()
	files, err := fs.ReadDir(db.Migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	for n := range files {
		t.Run(fmt.Sprintf("%d of %d", n, len(files)), func(t *testing.T) {
			t.Parallel()
			database, _, release := empty(t, "VIEW")
			release()
			some := fstest.MapFS{}
			for _, file := range files[:n] {
				text, err := fs.ReadFile(db.Migrations, "migrations/"+file.Name())
				if err != nil {
					t.Fatal(err)
				}
				some["migrations/"+file.Name()] = &fstest.MapFile{Data: text}
			}
			if n > 0 {
				if output, err := migrateFiles(t, database, some); err != nil {
					t.Fatal(output, err)
				}
			}
			s := newShell(t, database)
			r := answer[statusReport](s, "status --json")
			if len(r.Migrations) != len(files)-n || r.Migrations[0] != files[n].Name() {
				t.Errorf("pending: %v", r.Migrations)
			}
			for _, said := range append(r.Problems, fmt.Sprint(r.Unknown)) {
				if strings.Contains(said, "relation") || strings.Contains(said, "SQLSTATE") || strings.Contains(said, "does not exist") {
					t.Errorf("says %s", said)
				}
			}
			s.expect("status", "", 1, "ctl migrate applies them")
			s.expect("migrate", "", 0, fmt.Sprintf("done: %d migrations applied", len(files)-n))
			if r := answer[statusReport](s, "status --json"); len(r.Migrations) > 0 || len(r.Unknown) > 0 {
				t.Errorf("then: %v, %v", r.Migrations, r.Unknown)
			}
		})
	}
}

func TestStatusWithoutPostgresSaysTheRest(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	database := testdb.New(t)
	wrong := strings.Replace(database.As(testdb.API), ":test@", ":old@", 1)
	for _, test := range []struct{ name, url, says, does string }{
		{"not running", "postgres://localhost:1/none", "connect", "is it running"},
		{"never answers", "postgres://" + silent.Addr().String() + "/none?sslmode=disable", "timeout", "is it running"},
		{"no such database", strings.Replace(database.URL, "/test_", "/no_", 1), "does not exist", "ctl migrate creates"},
		{"a changed password", wrong, "password authentication failed", "was it changed?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.url == wrong && !asksForPasswords(t, wrong) {
				t.Log("this server lets everybody in")
				return
			}
			s := newShell(t, testdb.Database{URL: test.url})
			s.environ = append(s.environ, "REDIS_URL="+redisURL(t), "TOPIC=none-"+uuid.NewString())
			r := answer[statusReport](s, "status --json")
			if len(r.Problems) != 2 || !strings.Contains(r.Problems[0], test.says) || !strings.Contains(r.Problems[0], test.does) || !strings.Contains(r.Problems[1], "kafka has no topic") {
				t.Errorf("problems: %q", r.Problems)
			}
			if r.Cache == nil || *r.Cache != "ok" || r.Wallets != nil || r.why("wallets") == "" {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestAFullDiskThatLetsNobodyInIsNamed(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("connect to postgres: %w", &pgconn.PgError{Severity: "FATAL", Message: "could not write init file: No space left on device", Code: "53100"})
	if got := connectAdvice(err); !strings.Contains(got, "make room on its disk") {
		t.Errorf("says %q", got)
	}
}

func TestStatusIsCutShortAndSaysTheRest(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	execute(t, conn, "BEGIN; LOCK TABLE outcomes IN ACCESS EXCLUSIVE MODE")
	ended := make(chan error, 1)
	watch := testdb.Database{URL: strings.TrimPrefix(s.environ[0], "DATABASE_URL=")}.Conn(t)
	go func() {
		for terminated := 0; ; {
			err := watch.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'relation'`).Scan(&terminated)
			if err != nil || terminated > 0 {
				ended <- err
				return
			}
		}
	}()
	r := answer[statusReport](s, "status --json")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if said := strings.Join(r.Problems, "\n"); !strings.Contains(said, "postgres does not answer any more: terminating connection") || strings.Contains(said, "not known, because") {
		t.Errorf("problems: %s", said)
	}
	if r.Wallets == nil || r.Outbox == nil || r.why("applied") == "" || r.why("topic") == "" || r.Kafka == nil {
		t.Errorf("unknown: %v", r.Unknown)
	}
}

func asksForPasswords(t *testing.T, wrong string) bool {
	t.Helper()
	config, err := db.Config(wrong)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.ConnectUnconfirmed(t.Context(), config.ConnConfig)
	if err == nil {
		_ = conn.Close(t.Context())
	}
	return err != nil
}

func TestStatusComparesTheTopicWithWhatIsRegistered(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	topic := "ctl-test-" + uuid.NewString()
	s.environ = append(s.environ, "TOPIC="+topic)
	s.expect("status", "", 1, "topic "+topic+" is not registered")
	s.expect("topic create "+topic+" --partitions 3", "", 0, "registered")
	if r := answer[statusReport](s, "status --json"); *r.Partitions != 3 || r.Kafka.Partitions != 3 || r.Kafka.Error != "" || len(r.Kafka.Unowned) != 3 {
		t.Errorf("%+v", r.Kafka)
	}
	commit(t, s, topic, 7) // of a topic of that name that was deleted
	if r := answer[statusReport](s, "status --json"); r.Kafka.Lag != 0 || len(r.Kafka.Behind) != 0 {
		t.Errorf("nothing is behind: %+v", r.Kafka)
	}
	produce(t, s, topic, "k", "v")
	s.expect("status", "", 1, "messages not committed: 1 (partition ")
	execute(t, conn, "UPDATE outbox_topics SET partitions = 4")
	s.expect("status", "", 1, "has 3 partitions at Kafka, and is registered with 4")
	s.expect("status", "", 1, "kafka-topics.sh --bootstrap-server $KAFKA_BROKERS --alter --topic "+topic+" --partitions 4")
	s.expect("topic create "+topic+" --partitions 4", "", 1, "to add the others: kafka-topics.sh --bootstrap-server")
	execute(t, conn, "UPDATE outbox_topics SET partitions = 3")
	deleteTopic(t, s, topic)
	s.expect("status", "", 1, "ctl topic create "+topic+" --partitions 3, with the --replication-factor")
}

// commit commits an offset of the topic's first partition.
func commit(t *testing.T, s shell, topic string, offset kafka.Offset) {
	t.Helper()
	consumer, err := kafka.NewConsumer(&kafka.ConfigMap{"bootstrap.servers": strings.TrimPrefix(s.environ[1], "KAFKA_BROKERS="), "group.id": "wallet-worker"})
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	if _, err := consumer.CommitOffsets([]kafka.TopicPartition{{Topic: &topic, Partition: 0, Offset: offset}}); err != nil {
		t.Fatal(err)
	}
}

func deleteTopic(t *testing.T, s shell, topic string) {
	t.Helper()
	c := call{settings: settings{kafkaBrokers: strings.TrimPrefix(s.environ[1], "KAFKA_BROKERS=")}}
	config, err := c.kafkaConfig()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := kafka.NewAdminClient(&config)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.DeleteTopics(t.Context(), []string{topic}); err != nil {
		t.Fatal(err)
	}
}

func TestStatusNoticesAClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	s, conn := withHistory(t)
	execute(t, conn, "UPDATE outbox SET created_at = now() + interval '1 hour' WHERE id = 31")
	s.expect("status", "", 1, "the newest outbox row is 1h0m in the future: the database's clock was set back")
}

func TestStandbysThatCommitsWaitFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		names     string
		connected []string
		waiting   int64
		want      standbysReport
		problem   string
	}{
		{"a", []string{"a"}, 0, standbysReport{Needed: 1, Connected: []string{"a"}, Missing: []string{}}, ""},
		{"a", []string{"b"}, 7, standbysReport{Needed: 1, Connected: []string{}, Missing: []string{"a"}, Waiting: 7}, "0 of 1 needed are connected, missing a; 7 commits wait"},
		{"ANY 1 (a, b)", []string{"B"}, 0, standbysReport{Needed: 1, Connected: []string{"b"}, Missing: []string{"a"}}, "standby a is not connected; commits go on with b"},
		{`first 2 ("a b", c)`, []string{"a b"}, 1, standbysReport{Needed: 2, Connected: []string{"a b"}, Missing: []string{"c"}, Waiting: 1}, "1 of 2 needed are connected, missing c"},
		{"2 (a, b)", []string{"a", "b"}, 0, standbysReport{Needed: 2, Connected: []string{"a", "b"}, Missing: []string{}}, ""},
		{"*", nil, 1, standbysReport{Needed: 1, Connected: []string{}, Missing: []string{}, Waiting: 1}, "missing any"},
		{"*", []string{"x"}, 0, standbysReport{Needed: 1, Connected: []string{"x"}, Missing: []string{}}, ""},
	} {
		var r statusReport
		r.judgeStandbys(walletdb.ReplicationRow{Names: test.names, Connected: test.connected, Waiting: test.waiting})
		test.want.Names = test.names
		if diff := cmp.Diff(&test.want, r.Standbys); diff != "" {
			t.Errorf("%s with %v: %s", test.names, test.connected, diff)
		}
		if got := strings.Join(r.Problems, ""); (got == "") != (test.problem == "") || !strings.Contains(got, test.problem) {
			t.Errorf("%s with %v: says %q, want %q", test.names, test.connected, got, test.problem)
		}
	}
}

func TestAnAuditOfNothingIsNoSuccess(t *testing.T) {
	t.Parallel()
	empty := shell{t, []string{"DATABASE_URL=" + testdb.New(t).URL}}
	empty.expect("verify", "", 1, "nothing was audited")
	empty.expect("verify --json", "", 1, `{"wallets":0,"operations":0`)
	s, conn := withHistory(t)
	s.expect("verify", "", 0, "3 wallets, 31 operations, 0 open holds, 31 outbox rows")
	s.expect("verify --wallet "+uuid.NewString(), "", 1, "nothing was audited")
	s.expect("verify --wallet "+wallet(t, conn, 3).String(), "", 0, "1 wallets, 0 operations")
	s.expect("verify --topic another", "", 1, "the outbox has none of topic another, but of wallet-operations; is TOPIC right?")
	another := shell{t, append(s.environ, "TOPIC=another")}
	another.expect("verify", "", 1, "no message was audited: the outbox has none of topic another")
	another.expect("verify --wallet "+wallet(t, conn, 1).String(), "", 1, "no message was audited")
	another.expect("verify --topic wallet-operations", "", 0, "31 outbox rows")
	execute(t, conn, "UPDATE outbox SET topic = 'another'")
	another.expect("verify", "", 0, "31 outbox rows")
	execute(t, conn, "DELETE FROM outbox")
	another.expect("verify", "", 0, "0 outbox rows") // published and deleted
}

func TestEveryCommandSaysHowItIsCalled(t *testing.T) {
	t.Parallel()
	for _, cmd := range commands {
		for _, flag := range []string{"--help", "-h"} {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append(strings.Fields(cmd.words), flag), nil, nil, &stdout, &stderr)
			if code != 0 || stderr.Len() > 0 || !strings.HasPrefix(stdout.String(), "usage: ctl "+cmd.words) {
				t.Errorf("ctl %s %s: exit code %d\n%s%s", cmd.words, flag, code, &stdout, &stderr)
			}
			for _, name := range append(cmd.variables(), "exit code") {
				if !strings.Contains(stdout.String(), "\n  "+name+"  ") && name != "exit code" || !strings.Contains(stdout.String(), name) {
					t.Errorf("ctl %s %s does not explain %s:\n%s", cmd.words, flag, name, &stdout)
				}
			}
		}
	}
	s := shell{t, nil}
	s.expect("--help", "", 0, "wallet-operations)")
	s.expect("help", "", 0, "ctl COMMAND --help")
	s.expect("relay --help", "", 0, "relay rebase")
	s.expect("verify --help", "", 0, "(default wallet-operations)")
	s.expect("migrate --help", "", 0, "--wait DURATION")
	s.expect("relais", "", 2, `there is no command "relais"`)
	s.expect("relais --help", "", 2, `there is no command "relais"`)
	var out bytes.Buffer
	run(t.Context(), []string{"relay", "--help"}, nil, nil, &out, &out)
	if strings.Contains(out.String(), "keys list") {
		t.Errorf("ctl relay --help tells of other commands:\n%s", &out)
	}
}

func TestWhiteSpaceAroundSettingsDoesNotCount(t *testing.T) {
	t.Parallel()
	s, _ := withHistory(t)
	s.environ = []string{strings.Replace(s.environ[0], "=", "= ", 1) + "\n", "TOPIC= wallet-operations\t"}
	s.expect("verify", "", 0, "31 outbox rows")
}

// What a program reads of a status that knows nothing is null, and not 0.
func TestWhatIsNotKnownIsNull(t *testing.T) {
	t.Parallel()
	s := shell{t, []string{"DATABASE_URL=postgres://localhost:1/none"}}
	r := answer[map[string]json.RawMessage](s, "status --json")
	for _, name := range []string{"wallets", "acceptedOperations", "pendingOperations", "oldestPendingSeconds", "acceptedPerSecond", "appliedPerSecond", "outbox", "relays", "processes", "standingWallets"} {
		if string(r[name]) != "null" {
			t.Errorf("%s is %s", name, r[name])
		}
	}
}
