package receiver

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Print writes a line to out for each webhook.
func Print(out io.Writer) Take {
	return func(_ context.Context, d Delivery) error {
		_, err := io.WriteString(out, line(d))
		return err
	}
}

// line is what is printed of a webhook.
func line(d Delivery) string {
	if len(d.Run.Operations) == 0 {
		return fmt.Sprintf("  webhook %s: %s\n", d.ID, d.Type)
	}
	var operations strings.Builder
	for i, o := range d.Run.Operations {
		const shown = 3
		if i == shown {
			fmt.Fprintf(&operations, " and %d more;", len(d.Run.Operations)-shown)
			break
		}
		fmt.Fprintf(&operations, " %s", o.OperationType)
		if o.Amount != 0 {
			fmt.Fprintf(&operations, " %d", o.Amount)
		}
		fmt.Fprintf(&operations, " %s;", o.Status)
	}
	return fmt.Sprintf("  webhook %s:%s the wallet holds %d %s\n", d.ID, operations.String(), d.Run.Balance, d.Run.Currency)
}
