package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/freeport"
	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// Server is one of the Postgres servers. The process is only its launcher.
type Server struct{ *proc.Process }

func (p Server) Data() string { return filepath.Join(p.Argv[2], "data") }
func (p Server) Host() string { return net127 + p.Argv[3] }

const net127 = "127.0.0.1:"

// URL names the server alone, for its superuser.
func (p Server) URL() string {
	return "postgres://postgres:postgres@" + p.Host() + "/postgres?sslmode=disable"
}

// NewStandby is a server beside another one. It starts with Follow.
func NewStandby(state *proc.State, primary Server, name string) (Server, error) {
	port, err := freeport.Find()
	if err != nil {
		return Server{}, err
	}
	p := Server{&proc.Process{
		Name: name, About: "a standby of postgres", Env: primary.Env, Log: state.Log(name), EndsWithParent: true,
		Argv: []string{proc.Self(), "postgres", primary.Argv[2] + strings.TrimPrefix(name, "postgres"), strconv.Itoa(port)},
	}}
	p.Ready = func(ctx context.Context) error { return PingPostgres(ctx, p.URL()) }
	return p, nil
}

// Follow starts a server as a standby of another one, on a copy of its data. It is made as pg_basebackup
// does, which the embedded Postgres comes without.
func (p Server) Follow(ctx context.Context, primary Server) error {
	if err := os.RemoveAll(p.Argv[2]); err != nil {
		return err
	}
	if err := os.MkdirAll(p.Argv[2], 0o755); err != nil {
		return err
	}
	slot := strings.ReplaceAll(p.Name, "-", "_")
	conn, err := pgx.Connect(ctx, primary.URL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// The slot keeps what the standby still needs, however long it is missing.
	for _, statement := range []string{
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '" + slot + "'",
		"SELECT pg_create_physical_replication_slot('" + slot + "', true)",
		"SELECT pg_backup_start('" + slot + "', true)",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	// Files that change or vanish while they are copied are what the log mends.
	_ = proc.Run(ctx, p.Argv[2], "cp", "-a", primary.Data(), p.Data())
	var label string
	if err := conn.QueryRow(ctx, "SELECT labelfile FROM pg_backup_stop(false)").Scan(&label); err != nil {
		return err
	}
	if err := proc.Run(ctx, p.Data(), "sh", "-c", "rm -rf postmaster.pid postmaster.opts pg_wal/* pg_replslot/* recovery.signal"); err != nil {
		return err
	}
	settings := fmt.Sprintf("\nprimary_conninfo = 'host=127.0.0.1 port=%s user=postgres password=postgres application_name=%s'\nprimary_slot_name = '%s'\nsynchronous_standby_names = ''\n",
		primary.Argv[3], p.Name, slot)
	if err := p.write("backup_label", label, os.O_TRUNC); err != nil {
		return err
	}
	if err := p.write("standby.signal", "", os.O_TRUNC); err != nil {
		return err
	}
	if err := p.write("postgresql.auto.conf", settings, os.O_APPEND); err != nil {
		return err
	}
	return p.Start(ctx)
}

// write writes a file of the data as its owner would.
func (p Server) write(name, text string, flag int) error {
	path := filepath.Join(p.Data(), name)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		return err
	}
	owner, err := os.Stat(filepath.Join(p.Data(), "PG_VERSION"))
	if err != nil {
		return err
	}
	stat := owner.Sys().(*syscall.Stat_t)
	return os.Chown(path, int(stat.Uid), int(stat.Gid))
}

// WaitFor makes commits wait for one of the standbys, from when they all follow.
func (p Server) WaitFor(ctx context.Context, standbys []Server) error {
	names := make([]string, len(standbys))
	for i, s := range standbys {
		names[i] = `"` + s.Name + `"`
	}
	setting := strings.Join(names, ", ")
	if len(names) > 1 {
		setting = "ANY 1 (" + setting + ")"
	}
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + setting + "'", "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	following := func() bool {
		var n int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')").Scan(&n)
		return err == nil && n == len(standbys)
	}
	if !proc.Await(ctx, proc.ReadyWithin, following) {
		return errors.New("the standbys do not follow")
	}
	return nil
}

// SignalAll reaches the postmaster and all that it has started: a stopped postmaster alone stops nothing.
func (p Server) SignalAll(signal syscall.Signal) error {
	pid, err := p.Postmaster()
	if err != nil {
		return err
	}
	for _, pid := range append(proc.ChildrenOf(pid), pid) {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

func (p Server) Postmaster() (int, error) {
	text, err := os.ReadFile(filepath.Join(p.Data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

// Kill ends the server at once and its launcher, which does not notice; the supervision starts both on
// the same data.
func (p Server) Kill() error {
	pid, err := p.Postmaster()
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	p.Signal(syscall.SIGKILL)
	return err
}

// Halt kills the server, which is not started again.
func (p Server) Halt() error {
	ended := p.Release()
	err := p.Kill()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	<-ended
	return err
}
