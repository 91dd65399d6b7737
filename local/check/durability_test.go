package check

import (
	"strings"
	"testing"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

func TestRefusesToMeasureADatabaseThatIsNotDurable(t *testing.T) {
	conn := testdb.New(t).Conn(t)
	if err := RequireDurable(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SET synchronous_commit = off"); err != nil {
		t.Fatal(err)
	}
	if err := RequireDurable(t.Context(), conn); err == nil || !strings.Contains(err.Error(), "synchronous_commit=off") {
		t.Errorf("it measures: %v", err)
	}
}
