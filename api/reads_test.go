package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// row is an operation with its outcome, as the api and the worker write them; without a status it is pending.
type row struct {
	kind    string
	amount  int64
	id      uuid.UUID // Nil: any
	subject uuid.UUID
	other   uuid.UUID // counterpart
	expires time.Time
	meta    string
	at      time.Time // accepted; zero: now

	status  string
	reason  string
	balance int64
	held    int64
	state   string // empty: ACTIVE
	applied int64  // 0: as asked
	left    int64  // of the subject
}

// write inserts a wallet's next operations, and makes the wallet what the last outcome says.
func write(t *testing.T, conn *pgx.Conn, walletID uuid.UUID, rows ...row) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do := func(sql string, args ...any) {
		t.Helper()
		if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	var seq int64
	if err := tx.QueryRow(t.Context(), "SELECT last_seq FROM wallet_sequences WHERE wallet_id = $1", walletID).Scan(&seq); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		seq++
		id, at := r.id, r.at
		if id == uuid.Nil {
			id = uuid.New()
		}
		if at.IsZero() {
			at = time.Now()
		}
		do(`INSERT INTO operations (wallet_id, seq, id, type, amount, reference, created_at, subject_id, counterpart_id, expires_at, metadata)
			VALUES ($1, $2, $3, $4, $5, 'ref', $6, $7, $8, $9, $10)`,
			walletID, seq, id, r.kind, r.amount, at, orNull(r.subject), orNull(r.other), orNull(r.expires), orNull(r.meta))
		if r.status == "" {
			continue
		}
		left := any(r.left)
		if r.subject == uuid.Nil {
			left = nil
		}
		do(`INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after, held_after, state_after, applied_amount, subject_left)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			walletID, seq, r.status, orNull(r.reason), r.balance, orNull(r.held), orNull(r.state), orNull(r.applied), left)
		do("UPDATE wallets SET balance = $2, held = $3, state = $4, applied_seq = $5, rules_seq = $5 WHERE id = $1",
			walletID, r.balance, r.held, cmp.Or(r.state, "ACTIVE"), seq)
		switch {
		case r.kind == "HOLD" && r.status == "PROCESSED":
			do("INSERT INTO open_holds VALUES ($1, $2, $3, $4)", walletID, seq, id, orNull(r.expires))
		case r.subject != uuid.Nil && r.status == "PROCESSED" && r.left == 0:
			do("DELETE FROM open_holds WHERE hold_id = $1", r.subject)
		}
	}
	do("UPDATE wallet_sequences SET last_seq = $2 WHERE wallet_id = $1", walletID, seq)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// orNull is nil for a zero value.
func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

const processed, failed = "PROCESSED", "FAILED"

func TestAWalletSaysWhatIsHeldWhereverItIsReadFrom(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := newCached(t)
	a := startAPI(t, database.As(testdb.API), cache.setting())
	created := a.send("POST", walletsPath, `{"reference":"r","metadata":{"walletId":"not one","größe":"\"<7>\"\\"}}`)
	walletID := uuid.MustParse(fmt.Sprint(created.body["walletId"]))
	path := walletsPath + "/" + walletID.String()
	write(t, database.Conn(t), walletID,
		row{kind: "DEPOSIT", amount: 100, status: processed, balance: 100},
		row{kind: "HOLD", amount: 30, status: processed, balance: 100, held: 30},
		row{kind: "FREEZE", status: processed, balance: 100, held: 30, state: "FROZEN"},
		row{kind: "WITHDRAW", amount: 5})
	want := map[string]any{
		"walletId": walletID.String(), "currency": created.body["currency"], "balance": json.Number("100"), "held": json.Number("30"), "available": json.Number("70"),
		"state": "FROZEN", "tenant": "default", "version": json.Number("3"), "reference": "r", "createdAt": created.body["createdAt"],
		"metadata": map[string]any{"walletId": "not one", "größe": `"<7>"\`},
	}
	same := func(what string, got any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) { // maps are printed in order
			t.Errorf("%s:\n got %v\nwant %v", what, got, want)
		}
	}
	same("from Postgres", a.send("GET", path, "").body)
	cache.hold(t, a, walletID)
	read := a.send("GET", path, "")
	same("from Redis", read.body)
	for _, list := range []string{walletsPath, walletsPath + "?reference=r"} {
		items, _ := a.send("GET", list, "").body["items"].([]any)
		if len(items) != 1 {
			t.Fatalf("%s: %v", list, items)
		}
		same(list, items[0])
	}
	if etag := read.header.Get("ETag"); etag != `"2-3"` {
		t.Errorf("ETag %s", etag)
	}
	for tag, want := range map[string]int{`"2-3"`: 304, `W/"2-3"`: 304, `"3"`: 200, `W/"3"`: 200, `"2-2"`: 200} {
		if got := a.send("GET", path, "", "If-None-Match: "+tag); got.status != want {
			t.Errorf("If-None-Match: %s: %d, want %d", tag, got.status, want)
		}
	}
	// What is said of the state is raised with the version.
	conn := database.Conn(t)
	write(t, conn, walletID, row{kind: "ACTIVATE"})
	for _, step := range []struct{ outcome, want string }{
		{"($1, 4, 'FAILED', 'WALLET_FROZEN', 100, 30, 'FROZEN')", "4 30 FROZEN"},
		{"($1, 5, 'PROCESSED', NULL, 100, 30, NULL)", "5 30 ACTIVE"},
	} {
		if _, err := conn.Exec(t.Context(), "INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after, held_after, state_after) VALUES "+step.outcome, walletID); err != nil {
			t.Fatal(err)
		}
		testkit.Until(t, "a statement raises held and state", func() error {
			a.send("GET", path+"/operations", "")
			got := a.send("GET", path, "").body
			return testkit.Unless(fmt.Sprint(got["version"], " ", got["held"], " ", got["state"]) == step.want, "it is %v", got)
		})
	}
}

func TestMetadataOfAWalletIsWrittenOnceAndComparedAsAMap(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	conn := database.Conn(t)
	for _, test := range []struct {
		name, first, again string
		status             int
	}{
		{"the same in another order", `{"metadata":{"a":"1","b":"2"}}`, `{"metadata":{"b":"2","a":"1"}}`, 200},
		{"another value", `{"metadata":{"a":"1"}}`, `{"metadata":{"a":"2"}}`, 422},
		{"a key less", `{"metadata":{"a":"1","b":""}}`, `{"metadata":{"a":"1"}}`, 422},
		{"none", `{"metadata":{"a":"1"}}`, `{}`, 422},
		{"none before", `{}`, `{"metadata":{"a":"1"}}`, 422},
		{"an empty one, which is none", `{}`, `{"metadata":{}}`, 200},
	} {
		key := "Idempotency-Key: " + uuid.NewString()
		created := a.send("POST", walletsPath, test.first, key)
		again := a.send("POST", walletsPath, test.again, key)
		read := a.send("GET", created.header.Get("Location"), "")
		if created.status != 201 || again.status != test.status || fmt.Sprint(read.body) != fmt.Sprint(created.body) {
			t.Errorf("%s: %d, %d want %d; read %s", test.name, created.status, again.status, test.status, read.text)
		}
	}
	var rows int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM wallet_metadata").Scan(&rows); err != nil || rows != 4 {
		t.Errorf("%d wallets have metadata, want 4 (%v)", rows, err)
	}
}

func TestAWalletIsReadAsItWas(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	conn := database.Conn(t)
	walletID := a.newWallet(t)
	began := time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
	if _, err := conn.Exec(t.Context(), "UPDATE wallets SET created_at = $1", began); err != nil {
		t.Fatal(err)
	}
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	write(t, conn, walletID,
		row{kind: "DEPOSIT", amount: 100, at: at(10), status: processed, balance: 100},
		row{kind: "HOLD", amount: 30, at: at(20), status: processed, balance: 100, held: 30},
		row{kind: "FREEZE", at: at(20), status: processed, balance: 100, held: 30, state: "FROZEN"},
		row{kind: "WITHDRAW", amount: 1, at: at(300), status: failed, reason: "WALLET_FROZEN", balance: 100, held: 30, state: "FROZEN"},
		// Accepted before times followed the sequence.
		row{kind: "DEPOSIT", amount: 1, at: at(301), status: processed, balance: 101, held: 30, state: "FROZEN"},
		row{kind: "DEPOSIT", amount: 1, at: at(290), status: processed, balance: 102, held: 30, state: "FROZEN"},
		row{kind: "DEPOSIT", amount: 1, at: at(302), status: processed, balance: 103, held: 30, state: "FROZEN"},
		row{kind: "DEPOSIT", amount: 1, at: at(600)})
	path := walletsPath + "/" + walletID.String()
	for _, test := range []struct {
		name    string
		query   string
		time    time.Time
		status  int
		code    string
		version int64
		says    string // balance, held, available, state
	}{
		{name: "before it was created", time: at(-0.000001), status: 404, code: "wallet-not-found"},
		{name: "as it was created", time: at(0), status: 200, version: 0, says: "0 0 0 ACTIVE"},
		{name: "just before the first", time: at(9.999999), status: 200, version: 0, says: "0 0 0 ACTIVE"},
		{name: "at the first", time: at(10), status: 200, version: 1, says: "100 0 100 ACTIVE"},
		{name: "just before two at a time", time: at(19.999999), status: 200, version: 1, says: "100 0 100 ACTIVE"},
		{name: "two at a time", time: at(20), status: 200, version: 3, says: "100 30 70 FROZEN"},
		{name: "long after", time: at(200), status: 200, version: 3, says: "100 30 70 FROZEN"},
		{name: "out of order, at the early one", time: at(290), status: 200, version: 6, says: "102 30 72 FROZEN"},
		{name: "out of order, just before it", time: at(289.999999), status: 200, version: 3, says: "100 30 70 FROZEN"},
		{name: "out of order, after it", time: at(301.5), status: 200, version: 6, says: "102 30 72 FROZEN"},
		{name: "before the pending one", time: at(599), status: 200, version: 7, says: "103 30 73 FROZEN"},
		{name: "at the pending one", time: at(600), status: 409, code: "not-yet-applied"},
		{name: "after it", time: at(601), status: 409, code: "not-yet-applied"},
		{name: "in the future", time: time.Now().Add(time.Hour), status: 400, code: "invalid-request"},
		{name: "with a sequence", query: "&minSequence=0", time: at(20), status: 400, code: "invalid-request"},
	} {
		r := a.send("GET", path+"?at="+test.time.UTC().Format(timeFormat)+test.query, "")
		if r.status != test.status || test.code != "" && r.body["code"] != test.code {
			t.Errorf("%s: %d %s", test.name, r.status, r.text)
			continue
		}
		if got := fmt.Sprint(r.body["balance"], " ", r.body["held"], " ", r.body["available"], " ", r.body["state"]); r.status == 200 &&
			(got != test.says || r.number(t, "version") != test.version || r.header.Get("ETag") != etagOf(test.version)) {
			t.Errorf("%s: %s of ETag %s, want %s of version %d", test.name, r.text, r.header.Get("ETag"), test.says, test.version)
		}
	}
	if r := a.send("GET", path+"?at="+url.QueryEscape(at(20).In(time.FixedZone("", 3600)).Format(time.RFC3339)), ""); r.status != 200 || r.number(t, "version") != 3 {
		t.Errorf("in another zone: %d %s", r.status, r.text)
	}
	if r := a.send("GET", path+"?at="+at(20).Format(time.RFC3339), "", `If-None-Match: "2-3"`); r.status != 400 {
		t.Errorf("with If-None-Match: %d %s", r.status, r.text)
	}
	if r := a.send("GET", walletsPath+"/"+absent+"?at="+at(20).Format(time.RFC3339), ""); r.status != 404 {
		t.Errorf("no such wallet: %d %s", r.status, r.text)
	}
}

func TestHoldsAreReadAsTheyStand(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	conn := database.Conn(t)
	walletID := a.newWallet(t)
	open, partly, captured, released, expired, refused, pending, other := uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New(), uuid.New()
	expires := time.Date(2026, 12, 1, 12, 0, 0, 1000, time.UTC)
	hold := func(id uuid.UUID, amount, held int64) row {
		return row{kind: "HOLD", id: id, amount: amount, status: processed, balance: 1000, held: held}
	}
	rows := []row{
		{kind: "DEPOSIT", amount: 1000, id: other, status: processed, balance: 1000},
		hold(open, 10, 10),
		hold(partly, 100, 110),
		{kind: "CAPTURE", subject: partly, amount: 30, status: processed, balance: 970, held: 80, left: 70},
		{kind: "CAPTURE", subject: partly, amount: 71, status: failed, reason: "EXCEEDS_HOLD", balance: 970, held: 80, left: 70},
		{kind: "CAPTURE", subject: partly, amount: 20, status: processed, balance: 950, held: 60, left: 50},
		hold(captured, 40, 100),
		{kind: "CAPTURE", subject: captured, amount: 5, status: processed, balance: 945, held: 95, left: 35},
		{kind: "CAPTURE", subject: captured, amount: 0, applied: 35, status: processed, balance: 910, held: 60, left: 0}, // all that remains
		hold(released, 9, 69),
		{kind: "CAPTURE", subject: released, amount: 2, status: processed, balance: 908, held: 67, left: 7},
		{kind: "RELEASE", subject: released, applied: 7, status: processed, balance: 908, held: 60, left: 0},
		{kind: "EXPIRE", id: event.ExpireID(released), subject: released, status: failed, reason: "HOLD_CLOSED", balance: 908, held: 60, left: 0},
		{kind: "HOLD", id: expired, amount: 8, expires: expires, meta: `{"k":"v"}`, status: processed, balance: 908, held: 68},
		{kind: "EXPIRE", id: event.ExpireID(expired), subject: expired, applied: 8, status: processed, balance: 908, held: 60, left: 0},
		{kind: "HOLD", id: refused, amount: 5000, status: failed, reason: "INSUFFICIENT_FUNDS", balance: 908, held: 60},
	}
	// A client that does not give up: a hold's state is found all the same.
	for range 150 {
		rows = append(rows, row{kind: "CAPTURE", subject: partly, amount: 99, status: failed, reason: "EXCEEDS_HOLD", balance: 908, held: 60, left: 50})
	}
	for i := range int64(4) {
		rows = append(rows, hold(uuid.New(), 1, 61+i))
	}
	rows = append(rows,
		row{kind: "HOLD", id: pending, amount: 6, expires: expires},
		row{kind: "CAPTURE", subject: partly, amount: 1},
		row{kind: "CAPTURE", subject: pending, amount: 1})
	write(t, conn, walletID, rows...)

	holds := walletsPath + "/" + walletID.String() + "/holds"
	for _, test := range []struct {
		name   string
		id     uuid.UUID
		status string
		says   string // amount, captured, remaining
	}{
		{"an open one", open, "OPEN", "10 0 10"},
		{"one that is captured in part", partly, "OPEN", "100 50 50"},
		{"one that is captured", captured, "CLOSED", "40 40 0"},
		{"one whose rest is released", released, "CLOSED", "9 2 0"},
		{"one that has expired", expired, "EXPIRED", "8 0 0"},
		{"one that failed", refused, "FAILED", "5000 0 0"},
		{"a pending one", pending, "PENDING", "6 0 6"},
	} {
		r := a.send("GET", holds+"/"+test.id.String(), "")
		if got := fmt.Sprint(r.body["amount"], " ", r.body["captured"], " ", r.body["remaining"]); r.status != 200 || r.body["status"] != test.status || got != test.says ||
			r.body["holdId"] != test.id.String() || r.body["reference"] != "ref" || r.header.Get("Cache-Control") != cacheControl {
			t.Errorf("%s: %d %s, want %s %s", test.name, r.status, r.text, test.status, test.says)
		}
		if reason := r.body["failureReason"]; (reason == "INSUFFICIENT_FUNDS") != (test.status == "FAILED") {
			t.Errorf("%s: the reason is %v", test.name, reason)
		}
	}
	if r := a.send("GET", holds+"/"+expired.String(), ""); r.body["expiresAt"] != "2026-12-01T12:00:00.000001Z" || fmt.Sprint(r.body["metadata"]) != "map[k:v]" || r.number(t, "sequence") != 14 {
		t.Errorf("%s", r.text)
	}
	for name, path := range map[string]string{
		"an operation that is no hold": holds + "/" + other.String(), "no operation": holds + "/" + absent,
		"another wallet's": walletsPath + "/" + a.newWallet(t).String() + "/holds/" + open.String(), "no wallet": walletsPath + "/" + absent + "/holds/" + open.String(),
	} {
		if r := a.send("GET", path, ""); r.status != 404 || r.body["code"] != "hold-not-found" {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
	}

	for _, limit := range []string{"1", "2", "5", "6", "50"} {
		got, _ := pages(t, a, holds+"?limit="+limit, "remaining")
		if want := []string{"10", "50", "1", "1", "1", "1"}; !slices.Equal(got, want) {
			t.Errorf("limit %s: %v remain, want %v", limit, got, want)
		}
	}
	first := a.send("GET", holds+"?limit=1", "")
	if item := first.body["items"].([]any)[0].(map[string]any); item["holdId"] != open.String() || item["amount"] != json.Number("10") || item["reference"] != "ref" ||
		item["sequence"] != json.Number("2") || item["createdAt"] == nil || item["expiresAt"] != nil || first.body["next"] != json.Number("2") {
		t.Errorf("%s", first.text)
	}
	if r := a.send("GET", walletsPath+"/"+absent+"/holds", ""); r.status != 404 || r.body["code"] != "wallet-not-found" {
		t.Errorf("no wallet: %d %s", r.status, r.text)
	}
	if r := a.send("GET", walletsPath+"/"+a.newWallet(t).String()+"/holds", ""); r.text != `{"items":[],"next":null}` {
		t.Errorf("none: %s", r.text)
	}
}

// Who has seen a hold reads no balance afterwards that it is not held of.
func TestHoldsRaiseTheWalletThatIsReadNext(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := newCached(t)
	a := startAPI(t, database.As(testdb.API), cache.setting())
	conn := database.Conn(t)
	for name, path := range map[string]string{"a list": "", "one": "/H"} {
		walletID, id := a.newWallet(t), uuid.New()
		wallet := walletsPath + "/" + walletID.String()
		cache.hold(t, a, walletID)
		write(t, conn, walletID,
			row{kind: "DEPOSIT", amount: 9, status: processed, balance: 9},
			row{kind: "HOLD", id: id, amount: 4, status: processed, balance: 9, held: 4})
		testkit.Until(t, "it is raised", func() error {
			a.send("GET", wallet+"/holds"+strings.ReplaceAll(path, "H", id.String()), "")
			got := a.send("GET", wallet, "")
			return testkit.Unless(got.number(t, "held") == 4, "%s: %s", name, got.text)
		})
	}
}

// statedRow is a row of a statement.
type statedRow struct {
	row
	seq int64
}

// Whatever the filters, the order and the page, a statement has all that they let through, once.
func TestAFilteredStatementIsComplete(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	conn := database.Conn(t)
	walletID := a.newWallet(t)
	hold, elsewhere := uuid.New(), uuid.New()
	random := rand.New(rand.NewPCG(1, 1)) // the same history each time: not every one tells a search that is inexact
	began := time.Now().Add(-24 * time.Hour).Truncate(time.Second).UTC()
	at := began
	var rows []row
	var all []statedRow
	for i := range 400 {
		at = at.Add(time.Duration(random.IntN(20)) * time.Second)
		r := row{kind: "DEPOSIT", amount: 1, at: at.Add(-time.Duration(random.IntN(30)) * time.Second), status: processed, balance: 1000}
		switch random.IntN(4) {
		case 0:
			r.kind, r.status, r.reason = "WITHDRAW", failed, "INSUFFICIENT_FUNDS"
		case 1:
			r.kind, r.subject, r.left = "CAPTURE", hold, 5
			if random.IntN(2) == 0 {
				r.status, r.reason = failed, "EXCEEDS_HOLD"
			}
		}
		if i >= 380 {
			r.status, r.reason = "", ""
		}
		rows = append(rows, r)
		all = append(all, statedRow{r, int64(i + 1)})
	}
	write(t, conn, walletID, rows...)
	write(t, conn, a.newWallet(t), row{kind: "RECEIVE", amount: 1, subject: hold, other: walletID, at: began}) // names it in another wallet
	path := walletsPath + "/" + walletID.String() + "/operations"
	times := []time.Time{{}, began.Add(-time.Hour), all[100].at, all[200].at, all[201].at.Add(time.Microsecond), all[399].at, at.Add(time.Hour)}
	for range 250 {
		limit, order := 1+random.IntN(60), []string{"asc", "desc"}[random.IntN(2)]
		kind := []string{"", "", "DEPOSIT", "WITHDRAW", "CAPTURE", "CLOSE"}[random.IntN(6)]
		status := []string{"", "", "PENDING", processed, failed}[random.IntN(5)]
		subject := []uuid.UUID{uuid.Nil, uuid.Nil, hold, elsewhere}[random.IntN(4)]
		from, to := times[random.IntN(len(times))], times[random.IntN(len(times))]
		query := url.Values{"limit": {fmt.Sprint(limit)}, "order": {order}}
		for name, value := range map[string]string{"type": kind, "status": status} {
			if value != "" {
				query.Set(name, value)
			}
		}
		if subject != uuid.Nil {
			query.Set("subjectId", subject.String())
		}
		for name, value := range map[string]time.Time{"from": from, "to": to} {
			if !value.IsZero() {
				query.Set(name, value.Format(time.RFC3339Nano))
			}
		}
		var want []string
		for _, r := range all {
			if (kind == "" || r.kind == kind) && (status == "" || cmp.Or(r.status, "PENDING") == status) && (subject == uuid.Nil || r.subject == subject) &&
				!r.at.Before(from) && (to.IsZero() || r.at.Before(to)) {
				want = append(want, fmt.Sprint(r.seq))
			}
		}
		if order == "desc" {
			slices.Reverse(want)
		}
		got, read := pages(t, a, path+"?"+query.Encode(), "sequence")
		if !slices.Equal(got, want) || read > len(want)/limit+1 {
			t.Fatalf("%s: %d pages\n got %v\nwant %v", query.Encode(), read, got, want)
		}
	}
}

// A filter that lets little through costs a request no more than 10,000 sequences, and the client goes on.
func TestAFilterLooksAtALimitedNumberOfSequences(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	a := startAPI(t, database.As(testdb.API))
	conn := database.Conn(t)
	walletID, other, subject := a.newWallet(t), a.newWallet(t), uuid.New()
	for _, sql := range []string{
		"INSERT INTO operations (wallet_id, seq, id, type, amount, subject_id) SELECT $1, n, gen_random_uuid(), 'CAPTURE', 1, $2 FROM generate_series(1, 25000) n",
		`INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after, subject_left)
			SELECT $1, n, (CASE WHEN n IN (1, 25000) THEN 'FAILED' ELSE 'PROCESSED' END)::outcome_status, CASE WHEN n IN (1, 25000) THEN 'EXCEEDS_HOLD' END, 0, 1 FROM generate_series(1, 25000) n WHERE $2::uuid IS NOT NULL`,
		"UPDATE wallet_sequences SET last_seq = 25000 WHERE $1::uuid IS NOT NULL AND $2::uuid IS NOT NULL",
		"UPDATE wallets SET applied_seq = 25000, rules_seq = 25000 WHERE id = $1 AND $2::uuid IS NOT NULL",
	} {
		if _, err := conn.Exec(t.Context(), sql, walletID, subject); err != nil {
			t.Fatal(err)
		}
	}
	for _, filter := range []string{"status=FAILED", "status=FAILED&subjectId=" + subject.String()} {
		for order, nexts := range map[string]string{"asc": "1:10000 :20000 25000:end", "desc": "25000:15001 :5001 1:end"} {
			var got []string
			for next := ""; next != "&after=end" && len(got) < 9; {
				r := a.send("GET", walletsPath+"/"+walletID.String()+"/operations?"+filter+"&order="+order+next, "")
				var seqs []string
				for _, item := range r.body["items"].([]any) {
					seqs = append(seqs, fmt.Sprint(item.(map[string]any)["sequence"]))
				}
				following := "end"
				if r.body["next"] != nil {
					following = fmt.Sprint(r.body["next"])
				}
				got = append(got, strings.Join(seqs, ",")+":"+following)
				next = "&after=" + following
			}
			if strings.Join(got, " ") != nexts {
				t.Errorf("%s, %s: %q, want %q", filter, order, got, nexts)
			}
		}
	}
	if r := a.send("GET", walletsPath+"/"+other.String()+"/operations?type=CAPTURE&subjectId="+subject.String(), ""); r.status != http.StatusOK || r.text != `{"items":[],"next":15001}` {
		t.Errorf("another wallet's: %d %s", r.status, r.text)
	}
}

// No read costs more than its answer, however long the statement is and whatever the planner knows.
func TestReadsOfALongWalletReadAFewBuffers(t *testing.T) {
	t.Parallel()
	conn := testdb.New(t).Conn(t)
	walletID, subject, deposit := uuid.New(), uuid.New(), uuid.New()
	for _, sql := range []string{
		"INSERT INTO wallets (id, currency, balance, held, applied_seq, rules_seq) VALUES ('W', 'EUR', 100, 50, 29000, 29000)",
		"INSERT INTO wallet_sequences (wallet_id, last_seq) VALUES ('W', 30000)",
		`INSERT INTO operations (wallet_id, seq, id, type, amount, created_at, subject_id) SELECT 'W', n,
			CASE n WHEN 1 THEN 'D'::uuid WHEN 2 THEN 'S'::uuid ELSE gen_random_uuid() END, (CASE n WHEN 1 THEN 'DEPOSIT' WHEN 2 THEN 'HOLD' ELSE 'CAPTURE' END)::operation_type,
			1, now() - interval '1 day' + n * interval '1 s', CASE WHEN n > 2 THEN 'S'::uuid END FROM generate_series(1, 30000) n`,
		"INSERT INTO outcomes (wallet_id, seq, status, failure_reason, balance_after, held_after, subject_left) SELECT 'W', n, 'FAILED', 'EXCEEDS_HOLD', 100, 50, 50 FROM generate_series(1, 29000) n",
		"INSERT INTO open_holds VALUES ('W', 2, 'S', NULL)",
		`WITH flushed AS (INSERT INTO operations (wallet_id, seq, id, type, amount) SELECT 'W', n, gen_random_uuid(), 'DEPOSIT', 1 FROM generate_series(30001, 30500) n)
			INSERT INTO outbox (topic, key, payload) SELECT 'wallet-operations', 'W', '' FROM generate_series(1, 500)`,
		"INSERT INTO outbox (xid, topic, key, payload) SELECT n::text::xid8, 'wallet-operations', 'W', '' FROM generate_series(1, 20000) n",
		"INSERT INTO relay_positions (relay, prev, system_identifier, database_oid) VALUES ('wallet-relay', '1:1:', 1, 1)",
		"SET plan_cache_mode = force_generic_plan",
	} {
		sql = strings.NewReplacer("'W'", "'"+walletID.String()+"'", "'S'", "'"+subject.String()+"'", "'D'", "'"+deposit.String()+"'").Replace(sql)
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	seqs := make([]int64, 500)
	for i := range seqs {
		seqs[i] = 9000 + int64(i)
	}
	explainer := testkit.Explain(conn)
	q := walletdb.New(explainer)
	for _, statistics := range []string{"without", "with"} {
		for name, read := range map[string]struct {
			most int
			do   func() error
		}{
			"a wallet": {10, func() error {
				_, err := q.ReadWallet(t.Context(), walletdb.ReadWalletParams{ID: walletID, Tenant: db.AllTenants})
				return err
			}},
			"open holds": {40, func() error {
				_, err := q.OpenHolds(t.Context(), walletdb.OpenHoldsParams{WalletID: walletID, MaxRows: 51})
				return err
			}},
			"a hold": {1_100, func() error {
				_, err := q.HoldState(t.Context(), walletdb.HoldStateParams{WalletID: walletID, HoldID: subject, Amount: 50, ExpireID: event.ExpireID(subject)})
				return err
			}},
			"an operation by its id": {20, func() error {
				_, err := q.ReadOperation(t.Context(), walletdb.ReadOperationParams{ID: deposit, Tenant: db.AllTenants})
				return err
			}},
			"whether a late one of a flush is published": {100, func() error {
				_, err := q.Publication(t.Context(), walletdb.PublicationParams{WalletID: walletID, Seq: 30_490, Topic: "wallet-operations"})
				return err
			}},
			"whether the first of a flush is published": {100, func() error {
				_, err := q.Publication(t.Context(), walletdb.PublicationParams{WalletID: walletID, Seq: 30_001, Topic: "wallet-operations"})
				return err
			}},
			"whether one without a row is published": {30, func() error {
				_, err := q.Publication(t.Context(), walletdb.PublicationParams{WalletID: walletID, Seq: 1, Topic: "wallet-operations"})
				return err
			}},
			"outcomes": {60, func() error {
				_, err := q.OutcomesAt(t.Context(), walletdb.OutcomesAtParams{WalletID: walletID, Seqs: seqs})
				return err
			}},
			"a filter": {600 + 2*500, func() error {
				_, err := q.FilterOperations(t.Context(), walletdb.FilterOperationsParams{WalletID: walletID, Seqs: seqs, Status: "FAILED", Until: time.Now()})
				return err
			}},
			"a place in time": {150, func() error {
				_, err := q.LastBefore(t.Context(), walletdb.LastBeforeParams{WalletID: walletID, LastSeq: 30_000, Time: time.Now().Add(-20 * time.Hour)})
				return err
			}},
			"a last operation": {60, func() error {
				_, err := q.LastAcceptedBefore(t.Context(), walletdb.LastAcceptedBeforeParams{WalletID: walletID, After: 14_400, Before: 14_461, Time: time.Now().Add(-20 * time.Hour)})
				return err
			}},
			"a subject's first": {40, func() error {
				_, err := q.SubjectSequences(t.Context(), walletdb.SubjectSequencesParams{SubjectID: &subject, Before: 40_000, MaxRows: 50})
				return err
			}},
			"a subject's last": {40, func() error {
				_, err := q.LastSubjectSequences(t.Context(), walletdb.LastSubjectSequencesParams{SubjectID: &subject, Before: 40_000, MaxRows: 50})
				return err
			}},
		} {
			if err := read.do(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if buffers := explainer.Last.Buffers(); buffers == 0 || buffers > read.most {
				t.Errorf("%s, %s statistics: %d buffers, want up to %d", name, statistics, buffers, read.most)
			}
		}
		if _, err := conn.Exec(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
	}
}
