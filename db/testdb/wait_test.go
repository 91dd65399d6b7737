package testdb_test

import (
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

// Whoever waits learns at once that the session is over, and can use it after a wait that nothing ended.
func TestAWaitEndsWithTheSession(t *testing.T) {
	t.Parallel()
	database := testdb.New(t)
	conn, other := database.Conn(t), database.Conn(t)
	if err := db.WaitOn(t.Context(), conn, 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Fatalf("after a wait: %v", err)
	}
	began, pid, ended := time.Now(), conn.PgConn().PID(), make(chan error, 1)
	go func() { ended <- db.WaitOn(t.Context(), conn, time.Minute) }()
	if _, err := other.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Errorf("the session is over, and the wait ended without an error after %v", time.Since(began))
	}
}
