package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

func TestPagesCoverEverySequenceOnceAndEnd(t *testing.T) {
	t.Parallel()
	for last := int64(0); last <= 12; last++ {
		for limit := int64(1); limit <= 13; limit++ {
			for _, newestFirst := range []bool{false, true} {
				var got, want []int64
				for seq := int64(1); seq <= last; seq++ {
					want = append(want, seq)
				}
				next := oas.OptInt64{}
				for range last + 1 {
					after, before, following := pageBounds(last, next, limit, newestFirst)
					page := []int64{}
					for seq := after + 1; seq < min(before, last+1); seq++ {
						page = append(page, seq)
					}
					if newestFirst {
						slices.Reverse(page)
					}
					got = append(got, page...)
					if following.Null {
						break
					}
					next = oas.NewOptInt64(following.Value)
				}
				if newestFirst {
					slices.Reverse(want)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("last %d, limit %d, newest first %v: %v", last, limit, newestFirst, got)
				}
			}
		}
	}
}

// pages follows next to the end, and returns what field says of each item.
func pages(t *testing.T, a *api, path, field string) (values []string, read int) {
	t.Helper()
	for next := ""; ; read++ {
		r := a.send("GET", path+next, "")
		items, ok := r.body["items"].([]any)
		if !ok {
			t.Fatalf("%s: %d %s", path+next, r.status, r.text)
		}
		for _, item := range items {
			values = append(values, fmt.Sprint(item.(map[string]any)[field]))
		}
		following, present := r.body["next"]
		if !present {
			t.Fatalf("no next in %s", r.text)
		}
		if following == nil {
			return values, read + 1
		}
		next = "&after=" + fmt.Sprint(following)
	}
}

func TestAStatementIsReadInPagesEitherWay(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	cache := newCached(t)
	a := startAPI(t, database.As(testdb.API), cache.setting())
	walletID := a.newWallet(t)
	for amount := range 5 {
		a.deposit(walletID, amount+1)
	}
	conn := database.Conn(t)
	if _, err := conn.Exec(t.Context(), `INSERT INTO outcomes (wallet_id, seq, status, balance_after, failure_reason)
		VALUES ($1, 1, 'PROCESSED', 1, NULL), ($1, 2, 'FAILED', 1, 'BALANCE_LIMIT')`, walletID); err != nil {
		t.Fatal(err)
	}
	wallet := walletsPath + "/" + walletID.String()
	path := wallet + "/operations"
	cache.hold(t, a, walletID)
	for order, want := range map[string][]string{
		"asc":  {"1", "2", "3", "4", "5"},
		"desc": {"5", "4", "3", "2", "1"},
	} {
		got, read := pages(t, a, path+"?limit=2&order="+order, "sequence")
		if !slices.Equal(got, want) || read != 3 {
			t.Errorf("%s: %v in %d pages", order, got, read)
		}
	}
	newest := a.send("GET", path, "").body["items"].([]any)
	oldest := newest[len(newest)-1].(map[string]any)
	failed := newest[len(newest)-2].(map[string]any)
	if oldest["balanceAfter"] != json.Number("1") || failed["failureReason"] != "BALANCE_LIMIT" || failed["balanceAfter"] != json.Number("1") || failed["appliedAt"] == nil {
		t.Errorf("statement: %v", newest)
	}
	// A busy Redis may miss what one statement tells it.
	testkit.Until(t, "a balance is as new as the statement before it", func() error {
		a.send("GET", path, "")
		version := a.send("GET", wallet, "").number(t, "version")
		return testkit.Unless(version == 2, "it is of version %d", version)
	})
}

func TestWalletsAreFoundByReference(t *testing.T) {
	t.Parallel()
	a := startAPI(t, testdb.New(t).As(testdb.API))
	var mine, all []string
	for _, reference := range []string{"mine", "theirs", "mine", "mine"} {
		r := a.send("POST", walletsPath, `{"reference":"`+reference+`"}`)
		id := fmt.Sprint(r.body["walletId"])
		all = append(all, id)
		if reference == "mine" {
			mine = append(mine, id)
		}
	}
	slices.Sort(mine)
	slices.Sort(all)
	if got, read := pages(t, a, walletsPath+"?reference=mine&limit=2", "walletId"); !slices.Equal(got, mine) || read != 2 {
		t.Errorf("mine: %v in %d pages, want %v", got, read, mine)
	}
	if got, _ := pages(t, a, walletsPath+"?limit=3", "walletId"); !slices.Equal(got, all) {
		t.Errorf("all: %v, want %v", got, all)
	}
	if got, _ := pages(t, a, walletsPath+"?reference="+uuid.NewString(), "walletId"); len(got) != 0 {
		t.Errorf("no one's: %v", got)
	}
}

// A page must not read more than itself, however long the statement is and whatever the planner knows.
func TestAPageOfAStatementReadsAFewBuffers(t *testing.T) {
	t.Parallel()
	conn := testdb.New(t).Conn(t)
	walletID := uuid.New()
	for _, sql := range []string{
		"INSERT INTO operations (wallet_id, seq, id, type, amount) SELECT '" + walletID.String() + "', n, gen_random_uuid(), 'DEPOSIT', 1 FROM generate_series(1, 20000) n",
		"INSERT INTO outcomes (wallet_id, seq, status, balance_after) SELECT '" + walletID.String() + "', n, 'PROCESSED', n FROM generate_series(1, 20000) n",
		"SET plan_cache_mode = force_generic_plan",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	explainer := testkit.Explain(conn)
	q := walletdb.New(explainer)
	for range 2 { // before and after the planner has statistics
		for name, read := range map[string]func() error{
			"operations": func() error {
				_, err := q.OperationsBetween(t.Context(), walletdb.OperationsBetweenParams{WalletID: walletID, After: 9000, Before: 9501})
				return err
			},
			"outcomes": func() error {
				_, err := q.OutcomesBetween(t.Context(), walletdb.OutcomesBetweenParams{WalletID: walletID, After: 9000, Before: 9501})
				return err
			},
		} {
			if err := read(); err != nil {
				t.Fatal(err)
			}
			if buffers := explainer.Last.Buffers(); buffers == 0 || buffers > 20 {
				t.Errorf("%s: %d buffers are read for 500 rows", name, buffers)
			}
		}
		if _, err := conn.Exec(t.Context(), "ANALYZE"); err != nil {
			t.Fatal(err)
		}
	}
}
