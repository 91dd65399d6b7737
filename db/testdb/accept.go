package testdb

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db"
	"github.com/legendary-wallet/legendary-wallet/db/event"
	"github.com/legendary-wallet/legendary-wallet/db/walletdb"
)

// Operation is one to accept: a positive amount is a deposit, a negative one a withdrawal.
type Operation struct {
	WalletID uuid.UUID
	ID       uuid.UUID
	Amount   int64 // minor units
}

// CreateWallet makes a wallet as the api does.
func CreateWallet(ctx context.Context, conn *pgx.Conn) (uuid.UUID, error) {
	id := uuid.New()
	q := walletdb.New(conn)
	if _, err := q.CreateWallet(ctx, walletdb.CreateWalletParams{ID: id, Currency: "EUR", Tenant: db.DefaultTenant}); err != nil {
		return id, err
	}
	return id, q.CreateSequence(ctx, walletdb.CreateSequenceParams{WalletID: id, Tenant: db.DefaultTenant})
}

// Accept is the api's flush, in two round trips, without the lookup of known operations. It returns the
// operations' messages.
func Accept(ctx context.Context, conn *pgx.Conn, topic string, operations ...Operation) (messages [][]byte, err error) {
	last := map[uuid.UUID]int64{}
	for _, o := range operations {
		last[o.WalletID] = 0
	}
	wallets := walletdb.LockSequencesParams{}
	for id := range last {
		wallets.WalletIds, wallets.Tenants = append(wallets.WalletIds, id), append(wallets.Tenants, db.AllTenants)
	}
	var at time.Time
	err = db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		locked, err := q.LockSequences(ctx, wallets)
		for _, row := range locked {
			last[row.WalletID] = row.LastSeq
		}
		if err == nil {
			at, err = q.ReadClock(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	rows, outbox := walletdb.InsertOperationsParams{}, walletdb.InsertOutboxParams{Topic: topic, Headers: event.Headers("DEPOSIT")}
	for _, o := range operations {
		last[o.WalletID]++
		m := event.Message{WalletID: o.WalletID, Sequence: last[o.WalletID], OperationID: o.ID, Type: "DEPOSIT", Amount: o.Amount, AcceptedAt: at}
		if o.Amount < 0 {
			m.Type, m.Amount = "WITHDRAW", -o.Amount
		}
		rows.WalletIds = append(rows.WalletIds, m.WalletID)
		rows.Seqs = append(rows.Seqs, m.Sequence)
		rows.Ids = append(rows.Ids, m.OperationID)
		rows.Types = append(rows.Types, m.Type)
		rows.Amounts = append(rows.Amounts, m.Amount)
		rows.Refs = append(rows.Refs, "")
		rows.CreatedAts = append(rows.CreatedAts, at)
		outbox.Keys = append(outbox.Keys, m.WalletID.String())
		outbox.Payloads = append(outbox.Payloads, m.Encode())
	}
	advances := walletdb.AdvanceSequencesParams{}
	for id, seq := range last {
		advances.WalletIds, advances.LastSeqs, advances.LastAts = append(advances.WalletIds, id), append(advances.LastSeqs, seq), append(advances.LastAts, at)
	}
	err = db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.InsertOperations(ctx, rows); err != nil {
			return err
		}
		if err := q.InsertOutbox(ctx, outbox); err != nil {
			return err
		}
		if err := q.AdvanceSequences(ctx, advances); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
	return outbox.Payloads, err
}

// Apply is the worker's transaction, in two round trips, for everything that wallets have pending. It
// applies no rules: every operation is PROCESSED.
func Apply(ctx context.Context, conn *pgx.Conn, wallets ...uuid.UUID) error {
	upTo := make([]int64, len(wallets))
	for i := range upTo {
		upTo[i] = 1 << 62
	}
	balances, pending, outcomes := map[uuid.UUID]int64{}, []walletdb.PendingOperationsRow(nil), walletdb.InsertOutcomesParams{}
	err := db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.Begin(ctx); err != nil {
			return err
		}
		locked, err := q.LockWallets(ctx, wallets)
		if err != nil {
			return err
		}
		for _, wallet := range locked {
			balances[wallet.ID] = wallet.Balance
		}
		if pending, err = q.PendingOperations(ctx, walletdb.PendingOperationsParams{Ids: wallets, UpTo: upTo, MaxRows: 5_000}); err != nil {
			return err
		}
		outcomes.AppliedAt, err = q.ReadClock(ctx)
		return err
	})
	if err != nil {
		return err
	}
	applied := map[uuid.UUID]int64{}
	for _, o := range pending {
		amount := o.Amount
		if o.Type == walletdb.OperationTypeWITHDRAW {
			amount = -amount
		}
		balances[o.WalletID] += amount
		applied[o.WalletID] = o.Seq
		outcomes.WalletIds = append(outcomes.WalletIds, o.WalletID)
		outcomes.Seqs = append(outcomes.Seqs, o.Seq)
		outcomes.Statuses = append(outcomes.Statuses, "PROCESSED")
		outcomes.FailureReasons = append(outcomes.FailureReasons, "")
		outcomes.BalancesAfter = append(outcomes.BalancesAfter, balances[o.WalletID])
	}
	advances := walletdb.AdvanceWalletsParams{}
	for id, seq := range applied {
		advances.Ids, advances.AppliedSeqs, advances.Balances = append(advances.Ids, id), append(advances.AppliedSeqs, seq), append(advances.Balances, balances[id])
	}
	return db.Pipeline(ctx, conn, func(q *walletdb.Queries) error {
		if err := q.InsertOutcomes(ctx, outcomes); err != nil {
			return err
		}
		if _, err := q.AdvanceWallets(ctx, advances); err != nil {
			return err
		}
		return q.Commit(ctx)
	})
}
