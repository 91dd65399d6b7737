//go:build e2e

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/legendary-wallet/legendary-wallet/db/walletcache"
	"github.com/legendary-wallet/legendary-wallet/local/faults/kinds"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

func TestAlertRulesAndPrometheusConfigurationAreValid(t *testing.T) {
	root, err := stack.Workspace()
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []string{"config", "rules"} {
		file := map[string]string{"config": "prometheus.yml", "rules": "alerts.yml"}[check]
		if output, err := exec.Command("promtool", "check", check, filepath.Join(root, "deploy/prometheus", file)).CombinedOutput(); err != nil {
			t.Errorf("promtool check %s: %v\n%s", check, err, output)
		}
	}
}

func TestEveryAlertSaysWhatToDoWithCommandsThatExist(t *testing.T) {
	var usage bytes.Buffer
	command := exec.Command(filepath.Join(stacktest.Binaries(t), "ctl"))
	command.Stderr = &usage
	_ = command.Run() // it exits with 2, and lists its commands
	mentioned := regexp.MustCompile(`\bctl ((?:topic|relay|cache|keys|hooks) [a-z]+|[a-z]+)`)
	rules := alertRules(t)
	for _, alert := range rules {
		if severity := alert.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has severity %q", alert.Alert, severity)
		}
		runbook := alert.Annotations["runbook"]
		if alert.Annotations["summary"] == "" || !strings.HasPrefix(runbook, "Means: ") {
			t.Errorf("%s does not say what it means", alert.Alert)
		}
		if !strings.Contains(runbook, "Do: ") && !strings.Contains(runbook, "see Wallet") {
			t.Errorf("%s does not say what to do", alert.Alert)
		}
		for _, match := range mentioned.FindAllStringSubmatch(runbook, -1) {
			if !strings.Contains(usage.String(), "\n  "+match[1]+" ") {
				t.Errorf("%s: there is no %s", alert.Alert, match[0])
			}
		}
		for _, other := range regexp.MustCompile(`\bWallet[A-Z]\w+`).FindAllString(runbook, -1) {
			if !slices.ContainsFunc(rules, func(known rule) bool { return other == known.Alert }) {
				t.Errorf("%s: there is no alert %s", alert.Alert, other)
			}
		}
	}
}

func TestMetricsInAQueryAreFound(t *testing.T) {
	got := metricsIn(`histogram_quantile(0.99, sum by (le, job) (rate(a_bucket{x="b_c"}[1m]))) > 1e9 or absent(up{job="api"}) or vector(0) and on (f) d_total`)
	if want := []string{"a_bucket", "up", "d_total"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Every alert of the shipped file fires when its fault is made and clears after it. Faults that do not
// hinder each other are made at the same time.
func TestEveryAlertFiresForItsFaultAndClearsAfterIt(t *testing.T) {
	s, own := newObservedSystem(t)
	w := s.watch()
	began := time.Now()
	s.warmUp()
	s.checkNames(w)
	s.Until("no alert fires", 70*time.Second, func() bool { return len(w.allFiring()) == 0 })
	f := &faultsToSee{w: w, made: map[string]time.Time{}, healed: map[string]time.Time{}}

	resumed := make(chan struct{})
	t.Run("faults", func(t *testing.T) {
		for name, group := range map[string]func(s *system){
			"publishing, then telling": func(s *system) {
				func() { defer close(resumed); s.publishingFaults(f) }()
				s.tellingFaults(f, began)
			},
			"applying":  func(s *system) { <-resumed; s.applyingFaults(f) }, // the only one that waits: two run at once on two cores
			"accepting": func(s *system) { s.acceptingFaults(f) },
			"processes": func(s *system) { s.processFaults(f) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				inGroup := *s.System
				inGroup.T = t
				inGroup.Connect()
				group(&system{&inGroup})
			})
		}
	})
	if t.Failed() {
		return
	}
	s.stingyLeader(f)
	s.lostParts(f, own)
	clear := func() bool { return len(w.allFiring()) == 0 }
	if !proc.Await(t.Context(), 100*time.Second, clear) {
		t.Errorf("still firing: %s", w.allFiring())
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	var table strings.Builder
	columns := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintln(columns, "alert\tfires after\tclears after")
	for _, rule := range alertRules(t) {
		made, tried := f.made[rule.Alert]
		if !tried {
			t.Errorf("%s: no fault is made for it", rule.Alert)
			continue
		}
		fmt.Fprintf(columns, "%s\t%.1f s\t%.1f s\n", rule.Alert, w.first[rule.Alert].Sub(made).Seconds(), w.last[rule.Alert].Sub(f.healed[rule.Alert]).Seconds())
	}
	_ = columns.Flush()
	t.Logf("for: divided by %d\n%s", hurry, table.String())
}

// newObservedSystem has servers of its own, because they are taken away, and an api-2 with little room.
func newObservedSystem(t *testing.T) (*system, *servers.Backing) {
	t.Helper()
	s, own := newOwnSystemNotStarted(t, stack.Config{APIs: 2, Relays: 2, Workers: 1, Hooks: 1}, "SWEEP_AFTER=3s", "HOOKS_RETRIES=2s")
	small := s.Process("api-2")
	small.Env = append(small.Env, "QUEUE_MAX_OPERATIONS=40", "REQUEST_TIMEOUT=2s", "STREAMS_MAX=0")
	s.Begin()
	return s, own
}

// warmUp lets every metric have a value: an operation is accepted, one fails, and both are applied.
func (s *system) warmUp() {
	s.T.Helper()
	wallet := s.OpenWallets(1)[0]
	s.Deposit(s.APIURLs[0], wallet)
	if status, _ := s.post("/api/v1/wallet", s.APIURLs[0], fmt.Sprintf(`{"walletId":"%s","operationType":"WITHDRAW","amount":9007199254740991}`, wallet)); status != http.StatusAccepted {
		s.T.Fatalf("withdraw: status %d", status)
	}
	s.Until("both are applied", time.Minute, func() bool { return s.appliedUpTo(wallet) == 2 })
}

// checkNames holds every metric on the dashboard and in the alerts against those that the services
// expose, and every panel against the data in Prometheus.
func (s *system) checkNames(w *watched) {
	s.T.Helper()
	check := func(where, query string) {
		for _, name := range metricsIn(query) {
			s.Until(where+": a service exposes "+name, time.Minute, func() bool { return s.exposes(name) })
		}
	}
	for _, rule := range alertRules(s.T) {
		check(rule.Alert, rule.Expr)
	}
	for panel, query := range panelQueries(s.T) {
		check(panel, query)
		s.Until("the panel "+panel+" shows something", time.Minute, func() bool {
			series, err := w.query(s.T.Context(), query)
			if err != nil {
				s.T.Fatal(err)
			}
			return series > 0
		})
	}
}

// faultsToSee remembers when each alert's fault was made and healed.
type faultsToSee struct {
	w *watched

	mu           sync.Mutex
	made, healed map[string]time.Time
}

// make notes that the fault of these alerts was made now: that one fired before does not count.
func (f *faultsToSee) make(alerts ...string) {
	f.w.forget(alerts)
	f.note(f.made, alerts)
}

// heal notes that their fault is over.
func (f *faultsToSee) heal(alerts ...string) { f.note(f.healed, alerts) }

func (f *faultsToSee) note(times map[string]time.Time, alerts []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, alert := range alerts {
		times[alert] = time.Now()
	}
}

// fire waits until the alerts fire.
func (s *system) fire(f *faultsToSee, alerts ...string) {
	s.T.Helper()
	for _, alert := range alerts {
		s.Until(alert+" fires", 3*time.Minute, func() bool { return f.w.fired(alert) })
	}
}

func (s *system) publishingFaults(f *faultsToSee) {
	wallets := s.OpenWallets(6)
	halted, forked, gap, swept, sender, newer := wallets[0], wallets[1], wallets[2], wallets[3], wallets[4], wallets[5]
	kafka, err := kgo.NewClient(kgo.SeedBrokers(s.Backing.KafkaBrokers), kgo.DefaultProduceTopic(s.Topic))
	if err != nil {
		s.T.Fatal(err)
	}
	defer kafka.Close()
	tell := func(wallet uuid.UUID, sequence int64, id uuid.UUID) {
		value := fmt.Sprintf(`{"walletId":"%s","sequence":%d,"operationId":"%s","type":"DEPOSIT","amount":1}`, wallet, sequence, id)
		if err := kafka.ProduceSync(s.T.Context(), &kgo.Record{Key: []byte(wallet.String()), Value: []byte(value)}).FirstErr(); err != nil {
			s.T.Fatal(err)
		}
	}

	f.make("WalletRelayPaused", "WalletOutboxWaits", "WalletAppliedLate")
	s.mustCtl("relay", "pause", "--reason", "a test", "--yes")
	leader := s.Process("relay")
	if stack.Role(leader) != "leader" {
		leader = s.Process("relay-2")
	}
	s.Until("the relay pauses", time.Minute, func() bool {
		now, err := stack.AskReady(s.T.Context(), leader)
		return err == nil && len(now.Degraded) > 0
	})

	f.make("WalletHalted", "WalletMoneyInTransit", "WalletTypeUnknown", "WalletHistoryForked", "WalletGapsHealed", "WalletOperationsSwept")
	for range 3 {
		s.Deposit(s.APIURLs[0], halted)
	}
	s.exec("CREATE TABLE lost AS SELECT * FROM operations WHERE wallet_id = $1::uuid AND seq = 2", halted)
	s.exec("DELETE FROM operations WHERE wallet_id = $1 AND seq = 2", halted)
	// What goes to the halted wallet does not arrive.
	s.Deposit(s.APIURLs[0], sender)
	if status, body := s.post(fmt.Sprintf("/api/v1/wallets/%s/transfers", sender), s.APIURLs[0], fmt.Sprintf(`{"toWalletId":"%s","amount":1}`, halted)); status != http.StatusAccepted {
		s.T.Fatalf("a transfer: %d %s", status, body)
	}
	s.Until("the transfer is applied", time.Minute, func() bool { return s.appliedUpTo(sender) == 2 })
	s.exec("UPDATE operations SET created_at = now() - interval '2 minutes' WHERE wallet_id = $1 AND type = 'RECEIVE'", halted)
	s.exec("ALTER TYPE operation_type ADD VALUE 'BONUS'")
	s.Deposit(s.APIURLs[0], newer)
	s.exec("UPDATE operations SET type = 'BONUS' WHERE wallet_id = $1", newer)
	s.Deposit(s.APIURLs[0], forked)
	tell(forked, 1, uuid.New())
	s.Deposit(s.APIURLs[0], gap)
	tell(gap, 2, s.Deposit(s.APIURLs[0], gap).ID)
	s.Deposit(s.APIURLs[0], swept)
	f.heal("WalletHistoryForked", "WalletGapsHealed", "WalletOperationsSwept")
	s.fire(f, "WalletHistoryForked", "WalletGapsHealed", "WalletOperationsSwept", "WalletHalted", "WalletMoneyInTransit", "WalletTypeUnknown", "WalletRelayPaused", "WalletOutboxWaits")

	s.exec("INSERT INTO operations SELECT * FROM lost")
	s.exec("UPDATE operations SET type = 'DEPOSIT' WHERE wallet_id = $1", newer)
	f.heal("WalletHalted", "WalletMoneyInTransit", "WalletTypeUnknown", "WalletRelayPaused", "WalletOutboxWaits")
	s.mustCtl("relay", "resume", "--reason", "a test", "--yes")
	s.Until("the halted wallet goes on", time.Minute, func() bool { return s.appliedUpTo(halted) == 4 && s.appliedUpTo(newer) == 1 })
	s.fire(f, "WalletAppliedLate")

	f.make("WalletEventsNotPublished")
	var row int64
	if err := s.Conn.QueryRow(s.T.Context(), "INSERT INTO outbox (topic, key, payload) VALUES ('unregistered', 'a', '{}') RETURNING id").Scan(&row); err != nil {
		s.T.Fatal(err)
	}
	s.fire(f, "WalletEventsNotPublished")
	f.heal("WalletEventsNotPublished")
	s.mustCtl("relay", "park", fmt.Sprint(row), "--reason", "a test", "--yes")

	f.make("WalletRelayStopped")
	s.exec("CREATE TABLE registered AS SELECT * FROM outbox_topics WHERE topic = $1", s.Topic)
	s.exec("DELETE FROM outbox_topics WHERE topic = $1", s.Topic)
	s.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'local_relay'") // it reads the topics again
	s.Deposit(s.APIURLs[0], swept)
	s.fire(f, "WalletRelayStopped")
	f.heal("WalletRelayStopped")
	s.exec("INSERT INTO outbox_topics SELECT * FROM registered")

	pool, err := pgxpool.New(s.T.Context(), s.Backing.DatabaseURL)
	if err != nil {
		s.T.Fatal(err)
	}
	defer pool.Close()
	f.make("WalletRelayNoLeader")
	thief, err := kinds.StealLeadersLock(s.T.Context(), pool, s.Backing.DatabaseURL)
	if err != nil {
		s.T.Fatal(err)
	}
	s.fire(f, "WalletRelayNoLeader")
	f.heal("WalletRelayNoLeader")
	if err := thief.Close(s.T.Context()); err != nil {
		s.T.Fatal(err)
	}
}

func (s *system) applyingFaults(f *faultsToSee) {
	wallets := s.OpenWallets(2)
	hot, broken := wallets[0], wallets[1]
	kafka, err := kgo.NewClient(kgo.SeedBrokers(s.Backing.KafkaBrokers), kgo.DefaultProduceTopic(s.Topic))
	if err != nil {
		s.T.Fatal(err)
	}
	defer kafka.Close()
	f.make("WalletUnparseableMessages")
	if err := kafka.ProduceSync(s.T.Context(), kgo.StringRecord("\x00\xff{")).FirstErr(); err != nil {
		s.T.Fatal(err)
	}
	f.heal("WalletUnparseableMessages")

	s.Deposit(s.APIURLs[0], broken)
	s.Until("the wallet is applied", time.Minute, func() bool { return s.appliedUpTo(broken) == 1 })
	f.make("WalletDatabaseErrorsUnknown")
	s.exec("UPDATE wallets SET applied_seq = 0 WHERE id = $1", broken) // its outcome is there already
	s.Deposit(s.APIURLs[0], broken)

	f.make("WalletWorkerBehind", "WalletWorkerStandsStill")
	held := s.hold("SELECT FROM wallets WHERE id = $1 FOR UPDATE", hot)
	item := fmt.Sprintf(`{"walletId":"%s","operationType":"DEPOSIT","amount":1},`, hot)
	for range 6 {
		if status, body := s.post("/api/v1/wallet/batch", s.APIURLs[0], `{"operations":[`+strings.TrimSuffix(strings.Repeat(item, 1000), ",")+`]}`); status != http.StatusOK {
			s.T.Fatalf("batch: %d %.200s", status, body)
		}
	}
	s.fire(f, "WalletUnparseableMessages", "WalletDatabaseErrorsUnknown", "WalletWorkerBehind", "WalletWorkerStandsStill")
	f.heal("WalletDatabaseErrorsUnknown", "WalletWorkerBehind", "WalletWorkerStandsStill", "WalletAppliedLate")
	s.exec("UPDATE wallets SET applied_seq = 1 WHERE id = $1", broken)
	held()
	s.Until("both wallets go on", time.Minute, func() bool { return s.appliedUpTo(hot) == 6000 && s.appliedUpTo(broken) == 2 })
}

func (s *system) acceptingFaults(f *faultsToSee) {
	wallets, api := s.OpenWallets(4), s.APIURLs[1]
	busy, slow, unanswered := wallets[:2], wallets[2], wallets[3]

	f.make("WalletOverloaded")
	item := fmt.Sprintf(`{"walletId":"%s","operationType":"DEPOSIT","amount":1},`, slow)
	for range 30 {
		if status, _ := s.post("/api/v1/wallet/batch", api, `{"operations":[`+strings.TrimSuffix(strings.Repeat(item, 100), ",")+`]}`); status != http.StatusServiceUnavailable {
			s.T.Fatalf("a batch for which there is no room: status %d", status)
		}
	}
	f.make("WalletQueueNearlyFull")
	held := s.hold("SELECT FROM wallet_sequences WHERE wallet_id = ANY ($1) FOR UPDATE", busy)
	l := &stacktest.RunningLoad{
		Load:    &load.Load{APIs: []string{api}, APIKey: s.APIKey, Wallets: busy, Connections: 44, Duration: time.Hour, Attempt: 12 * time.Second, Patience: time.Minute},
		History: make(chan []load.Operation, 1),
	}
	go func() { l.History <- l.Send(s.T.Context()) }()
	s.fire(f, "WalletQueueNearlyFull", "WalletOverloaded")
	f.heal("WalletQueueNearlyFull", "WalletOverloaded")
	held()
	l.Finish()

	// A commit that takes long, as with a slow disk or a synchronous replica that does not answer.
	s.exec(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(TG_ARGV[0]::float8); RETURN NULL; END'`)
	commitsIn := func(wallet uuid.UUID, seconds string) {
		s.exec(fmt.Sprintf(`CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON operations DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW WHEN (NEW.wallet_id = '%s') EXECUTE FUNCTION slow('%s')`, wallet, seconds))
	}
	f.make("WalletAcceptSlow")
	commitsIn(slow, "1.5")
	for range 3 {
		s.Deposit(api, slow)
	}
	f.heal("WalletAcceptSlow")
	s.fire(f, "WalletAcceptSlow")
	s.exec("DROP TRIGGER slow ON operations")

	commitsIn(unanswered, "14")
	f.make("WalletOutcomeUnknown", "WalletCommitsAbandoned")
	status, body := s.post("/api/v1/wallet", api, fmt.Sprintf(`{"walletId":"%s","operationType":"DEPOSIT","amount":1}`, unanswered))
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "outcome-unknown") {
		s.T.Fatalf("an operation whose commit is not answered: %d %s", status, body)
	}
	s.fire(f, "WalletCommitsAbandoned")
	f.heal("WalletOutcomeUnknown", "WalletCommitsAbandoned")
	s.exec("DROP TRIGGER slow ON operations")

	f.make("WalletInternalErrors")
	s.exec("REVOKE SELECT ON operation_states FROM wallet_api")
	status, body = s.get(fmt.Sprintf("/api/v1/wallets/%s/operations/%s", slow, uuid.New()), s.APIURLs[0])
	s.exec("GRANT SELECT ON operation_states TO wallet_api")
	if status != http.StatusInternalServerError {
		s.T.Fatalf("a read without the right to it: %d %s", status, body)
	}
	f.heal("WalletInternalErrors")

	f.make("WalletTimesSetBack")
	s.exec("UPDATE wallet_sequences SET last_at = now() + interval '1 hour' WHERE wallet_id = $1", slow)
	s.Deposit(api, slow)
	f.heal("WalletTimesSetBack")

	f.make("WalletStreamsRefused")
	if status, body := s.send(http.MethodGet, api+"/api/v1/wallets/"+slow.String()+"/events", http.NoBody); status != http.StatusServiceUnavailable {
		s.T.Fatalf("a stream for which there is no room: %d %s", status, body)
	}
	f.heal("WalletStreamsRefused")
	s.fire(f, "WalletOutcomeUnknown", "WalletInternalErrors", "WalletTimesSetBack", "WalletStreamsRefused")
}

func (s *system) processFaults(f *faultsToSee) {
	standby := s.Process("relay-2")
	f.make("WalletServiceDown")
	standby.Stop()
	s.fire(f, "WalletServiceDown")

	f.heal("WalletServiceDown")
	f.make("WalletMigrationsPending", "WalletNotReady")
	s.exec("CREATE TABLE applied AS SELECT max(version) AS version FROM schema_migrations")
	s.exec("DELETE FROM schema_migrations WHERE version = (SELECT version FROM applied)")
	if err := standby.Begin(); err != nil {
		s.T.Fatal(err)
	}
	s.fire(f, "WalletMigrationsPending", "WalletNotReady")
	f.heal("WalletMigrationsPending", "WalletNotReady")
	s.exec("INSERT INTO schema_migrations SELECT version FROM applied")
	if err := standby.AwaitReady(s.T.Context(), false); err != nil {
		s.T.Error(err)
	}

	operator, err := walletcache.Open(s.Backing.RedisURL)
	if err != nil {
		s.T.Fatal(err)
	}
	defer operator.Close()
	f.make("WalletRedisRefuses")
	if err := operator.Do(s.T.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		s.T.Fatal(err)
	}
	s.fire(f, "WalletRedisRefuses")
	f.heal("WalletRedisRefuses")
	if err := operator.Do(s.T.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		s.T.Fatal(err)
	}
}

// stingyLeader lets a program that is no worker lead the workers' group, and give them nothing.
func (s *system) stingyLeader(f *faultsToSee) {
	worker := s.Process("worker")
	worker.Stop()
	leads := make(chan struct{})
	leader, err := kgo.NewClient(
		kgo.SeedBrokers(s.Backing.KafkaBrokers), kgo.ConsumerGroup(s.Topic), kgo.ConsumeTopics(s.Topic),
		kgo.Balancers(&stingy{GroupBalancer: kgo.CooperativeStickyBalancer(), leads: sync.OnceFunc(func() { close(leads) })}),
	)
	if err != nil {
		s.T.Fatal(err)
	}
	defer leader.Close()
	s.Until("it leads", time.Minute, func() bool {
		select {
		case <-leads:
			return true
		default:
			return false
		}
	})
	f.make("WalletPartitionsUnassigned")
	if err := worker.Start(context.WithoutCancel(s.T.Context())); err != nil {
		s.T.Fatal(err)
	}
	s.fire(f, "WalletPartitionsUnassigned")
	f.heal("WalletPartitionsUnassigned")
}

// stingy gives no partition to anybody.
type stingy struct {
	kgo.GroupBalancer
	leads func()
}

func (b *stingy) MemberBalancer(members []kmsg.JoinGroupResponseMember) (kgo.GroupMemberBalancer, map[string]struct{}, error) {
	b.leads()
	balancer, _, err := b.GroupBalancer.MemberBalancer(members)
	return balancer, nil, err
}

// lostParts takes Postgres, Redis and Kafka away and gives them back.
func (s *system) lostParts(f *faultsToSee, own *servers.Backing) {
	f.make("WalletStandbyMissing")
	s.waitForStandbys("away")
	s.fire(f, "WalletStandbyMissing")
	f.heal("WalletStandbyMissing")
	s.waitForStandbys("")

	alerts := []string{"WalletPostgresLost", "WalletRedisLost", "WalletKafkaLost", "WalletCacheErrors"}
	_ = s.Conn.Close(s.T.Context())
	f.make(alerts...)
	proc.StopAll(own.Processes)
	s.fire(f, alerts...)
	f.heal(alerts...)
	s.returnServers(own)
}

func (s *system) mustCtl(args ...string) {
	s.T.Helper()
	if err := s.Ctl(s.T.Context(), io.Discard, args...); err != nil {
		s.T.Fatal(err)
	}
}

func (s *system) exec(sql string, args ...any) {
	s.T.Helper()
	if _, err := s.Conn.Exec(s.T.Context(), sql, args...); err != nil {
		s.T.Fatalf("%s: %v", sql, err)
	}
}

func (s *system) appliedUpTo(wallet uuid.UUID) (sequence int64) {
	s.T.Helper()
	if err := s.Conn.QueryRow(s.T.Context(), "SELECT applied_seq FROM wallets WHERE id = $1", wallet).Scan(&sequence); err != nil {
		s.T.Fatal(err)
	}
	return sequence
}

// hold runs a statement and keeps its locks until it is let go.
func (s *system) hold(sql string, args ...any) (release func()) {
	s.T.Helper()
	conn, err := pgx.Connect(s.T.Context(), s.Backing.DatabaseURL)
	if err == nil {
		_, err = conn.Exec(s.T.Context(), "BEGIN")
	}
	if err == nil {
		_, err = conn.Exec(s.T.Context(), sql, args...)
	}
	if err != nil {
		s.T.Fatal(err)
	}
	release = func() { _ = conn.Close(context.Background()) }
	s.T.Cleanup(release)
	return release
}

// post sends one request, without a key, and returns what came of it.
func (s *system) post(path, api, body string) (status int, answer string) {
	s.T.Helper()
	return s.send(http.MethodPost, api+path, strings.NewReader(body))
}

func (s *system) get(path, api string) (status int, answer string) {
	s.T.Helper()
	return s.send(http.MethodGet, api+path, http.NoBody)
}

func (s *system) send(method, url string, body io.Reader) (status int, answer string) {
	s.T.Helper()
	request, err := http.NewRequestWithContext(s.T.Context(), method, url, body)
	if err != nil {
		s.T.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.APIKey)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.T.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.T.Fatal(err)
	}
	return response.StatusCode, string(text)
}
