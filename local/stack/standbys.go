package stack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/servers"
)

// PostgresServers are the primary and then its standbys.
func (s *Stack) PostgresServers() (all []servers.Server) {
	if s.Backing == nil {
		return nil
	}
	for _, p := range s.Backing.Processes {
		if isPostgres(p.Name) {
			all = append(all, servers.Server{Process: p})
		}
	}
	slices.SortFunc(all, func(a, b servers.Server) int { return strings.Compare(a.Name, b.Name) })
	if i := slices.IndexFunc(all, func(p servers.Server) bool { return p.Name == s.promoted }); i > 0 {
		all[0], all[i] = all[i], all[0]
	}
	return all
}

// StartStandbys makes synchronous standbys of the primary: with two, commits wait for either. From here on
// everyone knows all servers, and uses the one that takes writes.
func (s *Stack) StartStandbys(ctx context.Context, count int) error {
	if count == 0 {
		return nil
	}
	primary := s.PostgresServers()[0]
	for i := range count {
		name := "postgres-standby"
		if i > 0 {
			name = fmt.Sprintf("%s-%d", name, i+1)
		}
		started := time.Now()
		standby, err := servers.NewStandby(s.State, primary, name)
		if err != nil {
			return err
		}
		standby.Changed = func(what string) { s.changed(name, what) }
		if err := standby.Follow(ctx, primary); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.Backing.Processes = append(s.Backing.Processes, standby.Process)
		fmt.Fprintf(s.out, "  %-9s ready in %4.1f s  a standby of postgres\n", name, time.Since(started).Seconds())
	}
	all := s.PostgresServers()
	if err := all[0].WaitFor(ctx, all[1:]); err != nil {
		return err
	}
	return s.connectTo(all)
}

// connectTo lets everyone know servers of which one takes writes.
func (s *Stack) connectTo(all []servers.Server) error {
	hosts := make([]string, len(all))
	for i, p := range all {
		hosts[i] = p.Host()
	}
	anyOf := func(text string) (string, error) {
		u, err := url.Parse(text)
		if err != nil {
			return "", err
		}
		u.Host = strings.Join(hosts, ",")
		return u.String() + "&target_session_attrs=read-write", nil
	}
	var err, loginErr error
	s.Backing.DatabaseURL, err = anyOf(s.Backing.DatabaseURL)
	for service, login := range s.Login {
		if s.Login[service], loginErr = anyOf(login); loginErr != nil {
			err = loginErr
		}
	}
	return err
}

// forgetStandbys lets a Postgres whose data was kept go on without the standbys of the last time.
func (s *Stack) forgetStandbys(ctx context.Context) error {
	if len(s.PostgresServers()) == 0 {
		return nil
	}
	conn, err := pgx.Connect(ctx, s.PostgresServers()[0].URL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, statement := range []string{
		"ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()",
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots",
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// farthest is the standby that has most of the log, once all have replayed what they have.
func (s *Stack) farthest(ctx context.Context) (first servers.Server, err error) {
	const settled = time.Second
	var most int64
	for _, p := range s.PostgresServers()[1:] {
		conn, err := pgx.Connect(ctx, p.URL())
		if err != nil {
			return first, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		var at int64
		for since := time.Now(); time.Since(since) < settled; proc.Pause(ctx, proc.ProbeEvery) {
			var now int64
			if err := conn.QueryRow(ctx, "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint").Scan(&now); err != nil {
				return first, err
			}
			if now != at {
				at, since = now, time.Now()
			}
		}
		if at > most {
			first, most = p, at
		}
	}
	return first, nil
}

// FailOver destroys the primary, if it is not gone yet, and promotes the standby that has most.
func (s *Stack) FailOver(ctx context.Context) error {
	primary := s.PostgresServers()[0]
	if primary.CurrentPID() != 0 {
		if err := primary.Halt(); err != nil {
			return fmt.Errorf("destroy the primary: %w", err)
		}
	}
	if err := os.RemoveAll(primary.Data()); err != nil {
		return err
	}
	standby, err := s.farthest(ctx)
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, standby.URL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SELECT pg_promote(wait => false)"); err != nil {
		return err
	}
	promoted := func() bool {
		var recovering bool
		return conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&recovering) == nil && !recovering
	}
	if !proc.Await(ctx, proc.ReadyWithin, promoted) {
		return errors.New("the standby is not promoted")
	}
	s.promoted = standby.Name
	return nil
}

// waiting are the backends of the services that wait for a standby.
const waiting = " FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename LIKE 'local_%'"

// CancelWaits is what an operator does who does not know better: the commits are then on one disk, for
// everybody to see.
func CancelWaits(ctx context.Context, s *Stack) error {
	return s.onPrimary(ctx, "SELECT pg_cancel_backend(pid)"+waiting)
}

func TerminateWaits(ctx context.Context, s *Stack) error {
	return s.onPrimary(ctx, "SELECT pg_terminate_backend(pid)"+waiting)
}

func (s *Stack) onPrimary(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, s.PostgresServers()[0].URL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, statement)
	return err
}

// CrashPrimary kills one backend: the postmaster then ends all others, and recovers from its log. What
// waited for a standby is visible afterwards.
func CrashPrimary(ctx context.Context, s *Stack) error {
	primary := s.PostgresServers()[0]
	conn, err := pgx.Connect(ctx, primary.URL())
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := syscall.Kill(int(conn.PgConn().PID()), syscall.SIGKILL); err != nil {
		return err
	}
	if !proc.Await(ctx, proc.ReadyWithin, func() bool { return servers.PingPostgres(ctx, primary.URL()) == nil }) {
		return errors.New("the primary does not start again")
	}
	return nil
}
