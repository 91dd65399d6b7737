package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// runCells keeps several cells in the foreground.
func runCells(ctx context.Context, state *proc.State, c stack.Config, bin string, out io.Writer) error {
	cells, err := stack.NewCells(state, c, bin, out)
	if err != nil {
		return err
	}
	if err := cells.Start(ctx, c); err != nil {
		return err
	}
	defer cells.Stop()
	fmt.Fprintf(out, `
  API       %[1]s, for all %[3]d cells
  key       %[2]s
  all of it %[4]s

  Open a wallet in each cell, and look at it: its id says where it is.

    KEY=%[2]s
    for CELL in 0 1; do
      W=$(curl -s -X POST %[1]s/api/v1/wallets -H "Authorization: Bearer $KEY" -H "Wallet-Cell: $CELL" -H 'Content-Type: application/json' -d '{}' | sed 's/.*"walletId":"\([^"]*\)".*/\1/')
      curl -s -X POST %[1]s/api/v1/wallet -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -H 'Idempotency-Key: first' -d '{"walletId":"'$W'","operationType":"DEPOSIT","amount":1000}'; echo
      curl -s %[1]s/api/v1/wallets/$W -H "Authorization: Bearer $KEY"; echo
    done

  Ctrl-C stops everything; the data stays.
`, cells.Proxy.URL, cells.APIKey, c.Cells, filepath.Join(state.Dir, "stack.json"))
	<-ctx.Done()
	fmt.Fprintln(out, "\n  stopping")
	return nil
}
