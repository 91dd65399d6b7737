package check

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// RequireDurable refuses a database that answers before its disk has.
func RequireDurable(ctx context.Context, conn *pgx.Conn) error {
	for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
			return err
		}
		if value != "on" {
			return fmt.Errorf("Postgres runs with %s=%s: what that measures is not this system", name, value)
		}
	}
	return nil
}
