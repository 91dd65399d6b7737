package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
	"github.com/legendary-wallet/legendary-wallet/db/walletid"
)

// errCellFull means that this cell opens no new wallets.
var errCellFull = problem{code: overloaded, detail: "This cell takes no new wallets. The wallets that it has go on."}

// wrongCell is the answer to a request that another cell has to answer.
func wrongCell(cell int) problem {
	return problem{code: wrongCellCode, detail: fmt.Sprintf("It belongs to cell %d. Send it there, with the header Wallet-Cell: %d if its path names no wallet.", cell, cell), cell: oas.NewOptInt32(int32(cell))}
}

// otherCell is the answer to a request that moves money to another cell.
func otherCell(cell int) problem {
	return problem{code: otherCellCode, detail: fmt.Sprintf("The wallet in toWalletId belongs to cell %d, and money does not go from one cell to another.", cell), cell: oas.NewOptInt32(int32(cell))}
}

// noWallet is the answer about a wallet that the key cannot see here: that there is none, unless its id
// names another cell. A wallet that was moved here with its id is simply found.
func (ws *wallets) noWallet(id uuid.UUID) error {
	if cell := walletid.Cell(id); cell != ws.cell {
		return wrongCell(cell)
	}
	return errWalletNotFound
}

// noOperation is the answer about an operation that the wallet does not have here, if the wallet is here.
func (ws *wallets) noOperation(ctx context.Context, walletID uuid.UUID) error {
	if walletid.Cell(walletID) == ws.cell {
		return errOperationNotFound
	}
	_, err := walletdb.New(ws.pool).ReadWallet(ctx, walletdb.ReadWalletParams{ID: walletID, Tenant: string(tenantOf(ctx))})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ws.noWallet(walletID)
	case err != nil:
		return readError(err)
	}
	return errOperationNotFound
}

// refusal is why a request was not accepted. What the flush has not found may be in another cell.
func (ws *wallets) refusal(r *request, err error) error {
	switch {
	case errors.Is(err, errWalletNotFound):
		return ws.noWallet(r.walletID)
	case errors.Is(err, errTargetNotFound):
		if cell := walletid.Cell(*r.targetID); cell != ws.cell {
			return otherCell(cell)
		}
	}
	return err
}

// cellHeader names the cell of a request whose path has no wallet. openapi.yaml describes it, but not as a
// parameter: those are arguments in some of the generated clients, which would break.
const cellHeader = "Wallet-Cell"

// mustAnswer refuses a request that names another cell than this one: the proxy sends it here if it does not know
// that cell, and it must not be taken for a request of this one. Where a request names wallets, these count.
func mustAnswer(ctx context.Context, here int) error {
	of := callOf(ctx)
	if of.cell == "" || strings.HasPrefix(of.path, "/api/v1/wallets/") || of.path == "/api/v1/wallet" || of.path == batchPath {
		return nil
	}
	cell, err := strconv.ParseUint(of.cell, 10, 12)
	if err != nil || of.cell != strconv.FormatUint(cell, 10) {
		return invalid(cellHeader, "must be an integer from 0 to 4095")
	}
	if int(cell) != here {
		return wrongCell(int(cell))
	}
	return nil
}
