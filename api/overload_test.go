package main

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// With five times of what it can accept offered, the api accepts as much as ever, what it accepts does
// not wait longer than the queue's bound implies, and the rest is told at once to come back.
func TestOverloadIsRefusedAndCostsNoGoodput(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	proxy := newSlowProxy(t, database.As(testdb.API), 50*time.Millisecond)
	const room = 50
	a := startAPI(t, proxy.url, "FLUSH_MAX=8", "QUEUE_MAX_OPERATIONS=50") // eight in a little over 100 ms
	var wallets []uuid.UUID
	for range 10 {
		wallets = append(wallets, a.newWallet(t))
	}
	peak := offer(t, a, wallets, 0, 3*time.Second)
	perSec := float64(len(peak.accepted)) / 3
	over := offer(t, a, wallets, time.Duration(float64(time.Second)/perSec/5), 4*time.Second)
	goodput := float64(len(over.accepted)) / 4
	longest := time.Duration(room / perSec * float64(time.Second))
	t.Logf("peak %.0f/s; overloaded %.0f/s, %d refused, p99 of accepted %v, a full queue lasts %v",
		perSec, goodput, over.refused, percentile(over.accepted, 99), longest)
	if goodput < 0.8*perSec { // on a quiet machine it is 100 %
		t.Errorf("goodput fell from %.0f/s to %.0f/s", perSec, goodput)
	}
	if p99 := percentile(over.accepted, 99); p99 > longest+time.Second {
		t.Errorf("p99 of what was accepted is %v", p99)
	}
	if float64(over.refused) < 2*float64(len(over.accepted)) {
		t.Errorf("%d refused of five times what can be accepted", over.refused)
	}
	var stored int
	if err := database.Conn(t).QueryRow(t.Context(), "SELECT count(*) FROM operations").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if told := len(peak.accepted) + len(over.accepted); stored != told {
		t.Errorf("%d operations are stored, clients were told of %d", stored, told)
	}
}

type offered struct {
	accepted []time.Duration // how long each took
	refused  int
}

// offer sends deposits an interval apart, whatever becomes of the others; or as 24 clients, each as fast
// as it is answered, if the interval is 0.
func offer(t *testing.T, a *api, wallets []uuid.UUID, interval, during time.Duration) (result offered) {
	t.Helper()
	var mu sync.Mutex
	var clients sync.WaitGroup
	send := func(i int) {
		start := time.Now()
		r := a.deposit(wallets[i%len(wallets)], 1)
		took := time.Since(start)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.status == http.StatusAccepted:
			result.accepted = append(result.accepted, took)
		case r.status == http.StatusServiceUnavailable && r.body["code"] == "overloaded" && r.header.Get("Retry-After") != "":
			result.refused++
		default:
			t.Errorf("%d %s %v", r.status, r.text, r.err)
		}
	}
	end := time.Now().Add(during)
	if interval == 0 {
		for c := range 24 {
			clients.Go(func() {
				for i := c; time.Now().Before(end); i++ {
					send(i)
				}
			})
		}
	} else {
		for i, at := 0, time.Now(); at.Before(end); i, at = i+1, at.Add(interval) {
			time.Sleep(time.Until(at))
			clients.Go(func() { send(i) })
		}
	}
	clients.Wait()
	return result
}
