//go:build e2e

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/check"
	"github.com/legendary-wallet/legendary-wallet/local/load"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
	"github.com/legendary-wallet/legendary-wallet/local/stacktest"
)

// The drills of docs/operations.md, as it says.

// backLongEnough is how far back the restore goes.
const backLongEnough = 10 * time.Second

// archived is a system on a Postgres of its own that archives its log and has a base backup.
type archived struct {
	*system
	state   *proc.State
	primary *proc.Process
	base    string // the data directory of a base backup, to be copied
	archive string
	second  int // the port of a second server
}

// newArchived starts the primary, takes the backup under load, and starts the services on addresses that
// name both servers.
func newArchived(t *testing.T) (*archived, *stacktest.RunningLoad) {
	t.Helper()
	own, err := proc.TemporaryState()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	a := &archived{state: own, archive: filepath.Join(own.Dir, "archive"), base: filepath.Join(own.Dir, "base")}
	if a.second, err = freeport.Find(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(a.archive, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(a.archive, 0o777); err != nil { // Postgres may be another user
		t.Fatal(err)
	}
	p := &servers.Backing{RedisURL: ownRedis(t, own), KafkaBrokers: stacktest.Required(t, "TEST_KAFKA_BROKERS")}
	if err := p.Start(t.Context(), own, io.Discard, func(string, string) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	a.primary = p.Processes[0]
	a.settings(t, p.DatabaseURL, "archive_mode = on", "archive_timeout = 1",
		fmt.Sprintf("archive_command = 'cp %%p %[1]s/.%%f && mv %[1]s/.%%f %[1]s/%%f'", a.archive))
	a.primary.Stop()
	if err := a.primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.system = newSystemOn(t, p, nil)
	if err := a.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.CreateTopic(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.CreateKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	// From here on everyone knows both servers, and uses the one that takes writes.
	both := func(url string) string {
		return strings.Replace(url, "/postgres?", ","+proc.Address(a.second)+"/postgres?target_session_attrs=read-write&", 1)
	}
	p.DatabaseURL = both(p.DatabaseURL)
	for service, url := range a.Login {
		a.Login[service] = both(url)
	}
	if err := a.StartServices(t.Context(), stack.Config{APIs: 1, Relays: 1, Workers: 1}); err != nil {
		t.Fatal(err)
	}
	a.Connect()
	l := a.Load(a.OpenWallets(20))
	a.UntilApplied(time.Minute)
	a.backup()
	return a, l
}

// ownRedis is a cache that no other test fills.
func ownRedis(t *testing.T, s *proc.State) string {
	t.Helper()
	p, url, err := servers.Redis(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Changed = func(string) {}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return url
}

func (a *archived) settings(t *testing.T, url string, settings ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, setting := range settings {
		if _, err := conn.Exec(t.Context(), "ALTER SYSTEM SET "+setting); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Exec(t.Context(), "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
}

// backup takes a base backup as pg_basebackup does, which the local Postgres comes without.
func (a *archived) backup() {
	a.T.Helper()
	var label string
	if _, err := a.Conn.Exec(a.T.Context(), "SELECT pg_backup_start('drill', true)"); err != nil {
		a.T.Fatal(err)
	}
	data := filepath.Join(a.state.Dir, "postgres", "data")
	// Files that change or vanish while they are copied are what the log mends.
	_ = proc.Run(a.T.Context(), a.state.Dir, "cp", "-a", data, a.base)
	if err := a.Conn.QueryRow(a.T.Context(), "SELECT labelfile FROM pg_backup_stop(true)").Scan(&label); err != nil {
		a.T.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a.base, "backup_label"), []byte(label), 0o644); err != nil {
		a.T.Fatal(err)
	}
	for _, name := range []string{"postmaster.pid", "postmaster.opts"} {
		_ = os.Remove(filepath.Join(a.base, name))
	}
	if err := proc.Run(a.T.Context(), a.base, "sh", "-c", "rm -rf pg_wal/* pg_replslot/*"); err != nil {
		a.T.Fatal(err)
	}
}

// serve starts a server on the base backup.
func (a *archived) serve(port int, signalFile string, settings ...string) (url string) {
	a.T.Helper()
	cache, err := proc.CacheDir()
	if err != nil {
		a.T.Fatal(err)
	}
	for name, text := range map[string]string{signalFile: "", "postgresql.auto.conf": strings.Join(append(settings, fmt.Sprintf("port = %d", port), ""), "\n")} {
		if err := os.WriteFile(filepath.Join(a.base, name), []byte(text), 0o644); err != nil {
			a.T.Fatal(err)
		}
	}
	owner, err := os.Stat(filepath.Join(a.base, "PG_VERSION"))
	if err != nil {
		a.T.Fatal(err)
	}
	if err := proc.Run(a.T.Context(), a.base, "chown", "-R", fmt.Sprint(owner.Sys().(*syscall.Stat_t).Uid), a.base); err != nil {
		a.T.Fatal(err)
	}
	url = fmt.Sprintf("postgres://postgres:postgres@%s/postgres?sslmode=disable", proc.Address(port))
	argv := []string{
		filepath.Join(cache, "postgres", "18.3.0", "bin", "postgres"), "-D", a.base, "-p", fmt.Sprint(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300", "-c", "hot_standby=on",
	}
	if os.Geteuid() == 0 {
		argv = append([]string{"setpriv", "--reuid=nobody", "--clear-groups"}, argv...)
	}
	p := &proc.Process{
		Name: "postgres-2", Argv: argv, Log: a.state.Log("postgres-2"), Changed: func(string) {},
		Ready: func(ctx context.Context) error { return servers.PingPostgres(ctx, url) },
	}
	if err := p.Start(a.T.Context()); err != nil {
		a.T.Fatal(err)
	}
	a.T.Cleanup(p.Stop)
	return url
}

// putRight does what the runbook says once the services write to another server, and returns the
// operations that are lost.
func (a *archived) putRight(since time.Time) (lost map[uuid.UUID]bool) {
	a.T.Helper()
	for _, command := range []string{"cache renew --reason drill --yes", "relay rebase --reason drill --yes"} {
		if err := a.Ctl(a.T.Context(), io.Discard, strings.Fields(command)...); err != nil {
			a.T.Fatal(err)
		}
	}
	var listed bytes.Buffer
	a.T.Setenv("TOPIC", a.Topic)
	if err := a.Ctl(a.T.Context(), &listed, "relay", "lost", "--since", since.UTC().Format(time.RFC3339)); err != nil {
		a.T.Fatal(err)
	}
	lost = map[uuid.UUID]bool{}
	for line := range strings.Lines(listed.String()) {
		if id, err := uuid.Parse(strings.Fields(line)[0]); err == nil {
			lost[id] = true
		}
	}
	return lost
}

// accountFor compares what clients know with what is stored: every acknowledged operation is stored
// and finished, or it was accepted in the moments that are lost; and nothing that is listed is stored.
func (a *archived) accountFor(history []load.Operation, lost map[uuid.UUID]bool, from time.Time) {
	a.T.Helper()
	if _, err := check.AwaitIdle(a.T.Context(), a.Conn, 30*time.Second); err != nil {
		a.T.Fatal(err)
	}
	stored := map[uuid.UUID]bool{}
	rows, err := a.Conn.Query(a.T.Context(), "SELECT id FROM operation_states WHERE status <> 'PENDING'")
	if err != nil {
		a.T.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[[16]byte])
	if err != nil {
		a.T.Fatal(err)
	}
	for _, id := range ids {
		stored[id] = true
	}
	gone, silent := 0, 0
	for _, op := range history {
		if op.Answered.IsZero() || stored[op.ID] {
			continue
		}
		gone++
		if !lost[op.ID] {
			silent++
		}
		if op.Answered.Before(from) {
			a.T.Errorf("operation %s, acknowledged %s before anything was lost, is not stored", op.ID, from.Sub(op.Answered))
		}
	}
	for id := range lost {
		if stored[id] {
			a.T.Errorf("operation %s is listed as lost, and is stored", id)
		}
	}
	if len(lost) == 0 {
		a.T.Error("nothing was lost: this test sees nothing")
	}
	if err := a.Ctl(a.T.Context(), io.Discard, "verify"); err != nil {
		a.T.Error(err)
	}
	a.T.Logf("%d operations were acknowledged, %d of them are lost: %d listed from Kafka, %d never published", len(history), gone, len(lost), silent)
}

func TestAnAsynchronousStandbyIsPromotedUnderLoad(t *testing.T) {
	a, l := newArchived(t)
	primary, err := url.Parse(a.Backing.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(strings.Split(primary.Host, ",")[0], ":")
	standbyURL := a.serve(a.second, "standby.signal",
		fmt.Sprintf("primary_conninfo = 'host=%s port=%s user=postgres password=postgres'", host, port),
		fmt.Sprintf("restore_command = 'cp %s/%%f %%p'", a.archive))
	standby, err := pgx.Connect(t.Context(), standbyURL)
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close(context.Background())
	a.Until("the standby follows", time.Minute, func() bool {
		var streaming bool
		return standby.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')").Scan(&streaming) == nil && streaming
	})
	since := time.Now().Add(-time.Minute)
	// The standby falls behind by what happens in the next moment, which is lost with the primary.
	a.settings(t, standbyURL, "primary_conninfo = ''", "restore_command = ''")
	a.UntilApplied(time.Minute)
	time.Sleep(500 * time.Millisecond)
	_ = a.primary.Release() // for ever: the old primary is fenced
	if err := proc.StopPostmaster(filepath.Join(a.state.Dir, "postgres", "data")); err != nil {
		t.Fatal(err)
	}
	// What was acknowledged before the last commit that the standby has is there.
	var from time.Time
	if err := standby.QueryRow(t.Context(), "SELECT pg_last_xact_replay_timestamp()").Scan(&from); err != nil {
		t.Fatal(err)
	}
	// Waiting for it by the same statement could conflict with the last of recovery, and be cancelled.
	if _, err := standby.Exec(t.Context(), "SELECT pg_promote(wait => false)"); err != nil {
		t.Fatal(err)
	}
	a.Until("it is promoted", time.Minute, func() bool {
		var recovering bool
		return standby.QueryRow(t.Context(), "SELECT pg_is_in_recovery()").Scan(&recovering) == nil && !recovering
	})
	promoted := time.Now()
	a.Connect()
	a.UntilApplied(time.Minute)
	t.Logf("applying again %s after the promotion", time.Since(promoted).Round(10*time.Millisecond))
	lost := a.putRight(since)
	a.accountFor(l.Finish(), lost, from)
}

func TestABaseBackupIsRestoredToAPointInTime(t *testing.T) {
	a, l := newArchived(t)
	a.UntilApplied(time.Minute)
	time.Sleep(time.Second)
	var point time.Time
	if err := a.Conn.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&point); err != nil {
		t.Fatal(err)
	}
	time.Sleep(backLongEnough)
	history := l.Finish()
	var segment string
	if err := a.Conn.QueryRow(t.Context(), "SELECT pg_walfile_name(pg_switch_wal())").Scan(&segment); err != nil {
		t.Fatal(err)
	}
	a.Until("the log is archived", time.Minute, func() bool {
		var archived bool
		err := a.Conn.QueryRow(t.Context(), "SELECT coalesce(last_archived_wal >= $1, false) FROM pg_stat_archiver", segment).Scan(&archived)
		return err == nil && archived
	})
	proc.StopAll(a.Services)
	a.primary.Stop()
	restoredURL := a.serve(a.second, "recovery.signal", fmt.Sprintf("restore_command = 'cp %s/%%f %%p'", a.archive),
		fmt.Sprintf("recovery_target_time = '%s'", point.UTC().Format("2006-01-02 15:04:05.000000+00")), "recovery_target_action = 'promote'")
	restored, err := pgx.Connect(t.Context(), restoredURL)
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close(context.Background())
	a.Until("it is restored", 60*time.Second, func() bool {
		var recovering bool
		return restored.QueryRow(t.Context(), "SELECT pg_is_in_recovery()").Scan(&recovering) == nil && !recovering
	})
	a.Connect()
	lost := a.putRight(point.Add(-time.Minute))
	for _, p := range a.Services {
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wallets := a.OpenWallets(1)
	a.Deposit(a.APIURLs[0], wallets[0])
	a.accountFor(history, lost, point)
}
