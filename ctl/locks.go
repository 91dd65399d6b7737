package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// lockHolder is a session that others wait for, or may wait for.
type lockHolder struct {
	PID         int32     `json:"pid"`
	Login       string    `json:"login"`
	Application string    `json:"application"`
	State       string    `json:"state"` // empty: this login may not see it, nor since when
	Since       time.Time `json:"since"`
	Open        float64   `json:"openSeconds"`
	Locks       []string  `json:"locks"`  // ACCESS EXCLUSIVE on wallets
	Blocks      []string  `json:"blocks"` // api, relay, worker or a login, once for each session that waits
}

// addLockHolders names the transactions that others wait for, and how to end them; only those with a lock
// of a mode, if it is not empty.
func (r *statusReport) addLockHolders(ctx context.Context, q *walletdb.Queries, openFor time.Duration, mode string) error {
	holders, err := q.LockHolders(ctx, walletdb.LockHoldersParams{OpenMs: openFor.Milliseconds(), BlocksMs: blocksLong.Milliseconds()})
	if err != nil {
		return err
	}
	r.LockHolders = []lockHolder{}
	for _, row := range holders {
		if !slices.ContainsFunc(append(row.Tables, ""), func(lock string) bool { return strings.HasPrefix(lock, mode) }) {
			continue
		}
		h := lockHolder{row.Pid, row.Login, row.Application, row.State, row.Since.UTC(), row.OpenSeconds, row.Tables, row.Blocks}
		r.LockHolders = append(r.LockHolders, h)
		r.problem(h.String(), fmt.Sprintf("end it where it runs, or SELECT pg_terminate_backend(%d): what waits goes on by itself", h.PID))
	}
	return nil
}

// addYoungLockHolders looks for who has just locked a table, after a section found it locked.
func (r *statusReport) addYoungLockHolders(ctx context.Context, q *walletdb.Queries) {
	others := r.Problems
	r.Problems = nil
	_ = within(ctx, q, func(ctx context.Context, q *walletdb.Queries) error {
		return r.addLockHolders(ctx, q, 0, "ACCESS EXCLUSIVE")
	})
	r.Problems = append(r.Problems, others...)
}

func (h lockHolder) String() string {
	since := ""
	if h.State != "" {
		since = fmt.Sprintf(" for %s, since %s", seconds(h.Open), h.Since.Format("15:04:05 UTC"))
	}
	return fmt.Sprintf("session %d (%s, %q, %s) holds %s%s; %s", h.PID, h.Login, h.Application,
		cmp.Or(h.State, "state unknown"), cmp.Or(strings.Join(h.Locks, ", "), "locks"), since, h.waiting())
}

// waiting says who waits for it right now.
func (h lockHolder) waiting() string {
	if len(h.Blocks) == 0 {
		return "nobody waits for it at this moment"
	}
	sessions := map[string]int{}
	for _, who := range h.Blocks {
		sessions[who]++
	}
	var parts []string
	for _, who := range slices.Sorted(maps.Keys(sessions)) {
		unit := "sessions"
		if sessions[who] == 1 {
			unit = "session"
		}
		parts = append(parts, fmt.Sprintf("%s (%d %s)", who, sessions[who], unit))
	}
	return "it blocks " + strings.Join(parts, ", ")
}

// standbysReport is about the standbys that commits wait for.
type standbysReport struct {
	Names     string   `json:"synchronousStandbyNames"`
	Needed    int      `json:"needed"`
	Connected []string `json:"connected"`
	Missing   []string `json:"missing"` // those that the setting names
	Waiting   int64    `json:"waitingCommits"`
	Longest   float64  `json:"longestWaitSeconds"`
}

func (r *statusReport) addStandbys(ctx context.Context, q *walletdb.Queries) error {
	now, err := q.Replication(ctx)
	if err == nil && now.Names != "" {
		r.judgeStandbys(now)
	}
	return err
}

func (r *statusReport) judgeStandbys(now walletdb.ReplicationRow) {
	needed, names := synchronousStandbys(now.Names)
	s := &standbysReport{Names: now.Names, Needed: needed, Connected: []string{}, Missing: []string{}, Waiting: now.Waiting, Longest: now.LongestSeconds}
	for _, name := range names {
		switch connected := func(c string) bool { return strings.EqualFold(c, name) }; {
		case name == "*":
			s.Connected = append(s.Connected, now.Connected...)
		case slices.ContainsFunc(now.Connected, connected):
			s.Connected = append(s.Connected, name)
		default:
			s.Missing = append(s.Missing, name)
		}
	}
	r.Standbys = s
	switch {
	case len(s.Connected) < s.Needed:
		r.problem(fmt.Sprintf("commits wait for synchronous standbys: %d of %d needed are connected, missing %s; %d commits wait: nothing is acknowledged",
			len(s.Connected), s.Needed, cmp.Or(strings.Join(s.Missing, ", "), "any"), s.Waiting),
			"bring it back, and everything goes on by itself. Do not cancel what waits. To go on without, which leaves what is acknowledged on one disk, in psql: ALTER SYSTEM SET synchronous_standby_names = ''; then SELECT pg_reload_conf()")
	case len(s.Missing) > 0:
		r.problem(fmt.Sprintf("standby %s is not connected; commits go on with %s", strings.Join(s.Missing, ", "), strings.Join(s.Connected, ", ")), "bring it back: without it the next loss stops all commits")
	case s.Waiting > 0 && s.Longest > slow.Seconds():
		r.problem(fmt.Sprintf("%d commits wait for a standby that is connected, the first for %s", s.Waiting, seconds(s.Longest)), "look at that standby: its process, its disk, its network. Do not cancel what waits")
	}
}

var standbyNames = regexp.MustCompile(`(?is)^\s*(?:(?:first|any)?\s*(\d+)\s*\((.*)\)|(.*))\s*$`)

// synchronousStandbys reads synchronous_standby_names: a, b or 2 (a, b) or FIRST 2 (a, b) or ANY 2 (a, b).
func synchronousStandbys(text string) (needed int, names []string) {
	match := standbyNames.FindStringSubmatch(text)
	needed, err := strconv.Atoi(match[1])
	if err != nil {
		needed = 1
	}
	for name := range strings.SplitSeq(match[2]+match[3], ",") {
		names = append(names, strings.Trim(strings.TrimSpace(name), `"`))
	}
	return needed, names
}
