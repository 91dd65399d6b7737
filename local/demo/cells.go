package demo

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// runCells shows one cell after the other, each through the address that they have together. Webhooks are shown
// where there is one cell.
func runCells(ctx context.Context, state *proc.State, c stack.Config, bin string, began time.Time, out io.Writer) error {
	cells, err := stack.NewCells(state, c, bin, out)
	if err != nil {
		return err
	}
	defer cells.Stop()
	if err := cells.Start(ctx, c); err != nil {
		return err
	}
	for cell, s := range cells.Stacks {
		fmt.Fprintf(out, "\n  cell %d\n", cell)
		s.APIURLs = []string{cells.Proxy.URL}
		err := show(ctx, s, strconv.Itoa(cell), false, began, out)
		if ctx.Err() != nil {
			return proc.ErrInterrupted
		}
		if err != nil {
			return fmt.Errorf("cell %d: %w", cell, err)
		}
	}
	return nil
}
