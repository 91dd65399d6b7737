// Command go does, with the client that ogen generates, what every client does, and prints what it sees.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/clients/goclient"
)

func main() {
	if err := run(context.Background(), os.Getenv("API_URL"), os.Getenv("API_KEY")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// apiKey is what the client asks for before each request.
type apiKey string

func (k apiKey) BearerAuth(context.Context, goclient.OperationName) (goclient.BearerAuth, error) {
	return goclient.BearerAuth{Token: string(k)}, nil
}

func run(ctx context.Context, url, key string) error {
	client, err := goclient.NewClient(url, apiKey(key))
	if err != nil {
		return err
	}
	created, err := client.CreateWallet(ctx, &goclient.WalletRequest{
		Currency: goclient.NewOptCurrency("EUR"), Metadata: goclient.NewOptMetadata(goclient.Metadata{"order": "815"}),
	}, goclient.CreateWalletParams{})
	if err != nil {
		return err
	}
	answer, ok := created.(*goclient.WalletCreatedHeaders)
	if !ok {
		return fmt.Errorf("create wallet: %T", created)
	}
	wallet := answer.Response
	fmt.Printf("wallet: %s, balance %d\n", wallet.Currency, wallet.Balance)

	deposit := &goclient.OperationRequest{WalletID: wallet.WalletID, OperationType: goclient.OperationTypeDEPOSIT, Amount: 1050}
	retriable := goclient.CreateOperationParams{IdempotencyKey: goclient.NewOptString(uuid.NewString())}
	first, _, err := operation(client.CreateOperation(ctx, deposit, retriable))
	if err != nil {
		return err
	}
	again, replayed, err := operation(client.CreateOperation(ctx, deposit, retriable))
	if err != nil {
		return err
	}
	fmt.Printf("deposit: sequence %d\n", first.Sequence)
	fmt.Printf("retried: same operation %t, replayed %t\n", again.OperationID == first.OperationID, replayed)

	wait := goclient.CreateOperationParams{Prefer: goclient.NewOptString("wait=30")}
	withdraw := &goclient.OperationRequest{WalletID: wallet.WalletID, OperationType: goclient.OperationTypeWITHDRAW, Amount: 300}
	paid, _, err := operation(client.CreateOperation(ctx, withdraw, wait))
	if err != nil {
		return err
	}
	fmt.Printf("withdrawal: %s, balance %d\n", paid.Status, paid.BalanceAfter.Value)
	withdraw.Amount = 5000
	refused, _, err := operation(client.CreateOperation(ctx, withdraw, wait))
	if err != nil {
		return err
	}
	fmt.Printf("overdraft: %s, %s\n", refused.Status, refused.FailureReason.Value)

	params := goclient.ListOperationsParams{WalletID: wallet.WalletID, Limit: goclient.NewOptInt32(2), Order: goclient.NewOptOrder(goclient.OrderAsc)}
	for more := true; more; {
		page, err := client.ListOperations(ctx, params)
		if err != nil {
			return err
		}
		for _, o := range page.Response.Items {
			fmt.Printf("statement: %d %s %d %s\n", o.Sequence, o.OperationType, o.Amount.Value, o.Status)
		}
		params.After.Value, params.After.Set = page.Response.Next.Get()
		more = params.After.Set
	}

	if err := money(ctx, client, wallet.WalletID, first.OperationID); err != nil {
		return err
	}

	stranger, err := goclient.NewClient(url, apiKey("lw_unknown"))
	if err != nil {
		return err
	}
	_, err = stranger.GetWallet(ctx, goclient.GetWalletParams{WalletID: wallet.WalletID})
	printProblem(err)
	_, err = client.GetWallet(ctx, goclient.GetWalletParams{WalletID: uuid.New()})
	printProblem(err)
	deposit.Amount = 9
	_, _, err = operation(client.CreateOperation(ctx, deposit, retriable))
	printProblem(err)
	_, _, err = operation(client.CaptureHold(ctx, &goclient.CaptureRequest{}, goclient.CaptureHoldParams{WalletID: wallet.WalletID, HoldID: uuid.New()}))
	printProblem(err)
	return nil
}

// money holds, captures, releases, transfers, reverses and freezes.
func money(ctx context.Context, client *goclient.Client, walletID, depositID uuid.UUID) error {
	wait := goclient.NewOptString("wait=30")
	hold, _, err := operation(client.CreateHold(ctx, &goclient.HoldRequest{Amount: 500}, goclient.CreateHoldParams{WalletID: walletID, Prefer: wait}))
	if err != nil {
		return err
	}
	fmt.Printf("hold: %s, held %d, available %d\n", hold.Status, hold.HeldAfter.Value, hold.AvailableAfter.Value)
	open, err := client.ListHolds(ctx, goclient.ListHoldsParams{WalletID: walletID})
	if err != nil {
		return err
	}
	fmt.Printf("open holds: %d, remaining %d\n", len(open.Response.Items), open.Response.Items[0].Remaining)
	for _, capture := range []goclient.CaptureRequest{
		{Amount: goclient.NewOptAmount(200), Final: goclient.NewOptBool(false)},
		{}, // all that remains
	} {
		captured, _, err := operation(client.CaptureHold(ctx, &capture, goclient.CaptureHoldParams{WalletID: walletID, HoldID: hold.OperationID, Prefer: wait}))
		if err != nil {
			return err
		}
		fmt.Printf("captured: %d, held %d\n", captured.Amount.Value, captured.HeldAfter.Value)
	}
	closed, err := client.GetHold(ctx, goclient.GetHoldParams{WalletID: walletID, HoldID: hold.OperationID})
	if err != nil {
		return err
	}
	fmt.Printf("hold: %s, captured %d\n", closed.Response.Status, closed.Response.Captured)
	hold, _, err = operation(client.CreateHold(ctx, &goclient.HoldRequest{Amount: 100}, goclient.CreateHoldParams{WalletID: walletID}))
	if err != nil {
		return err
	}
	released, _, err := operation(client.ReleaseHold(ctx, &goclient.ReleaseRequest{}, goclient.ReleaseHoldParams{WalletID: walletID, HoldID: hold.OperationID, Prefer: wait}))
	if err != nil {
		return err
	}
	fmt.Printf("released: %d, available %d\n", released.Amount.Value, released.AvailableAfter.Value)

	created, err := client.CreateWallet(ctx, &goclient.WalletRequest{Currency: goclient.NewOptCurrency("EUR")}, goclient.CreateWalletParams{})
	if err != nil {
		return err
	}
	other, ok := created.(*goclient.WalletCreatedHeaders)
	if !ok {
		return fmt.Errorf("create wallet: %T", created)
	}
	otherID := other.Response.WalletID
	topUp := &goclient.WalletOperationRequest{OperationType: goclient.OperationTypeDEPOSIT, Amount: 5}
	toppedUp, _, err := operation(client.CreateWalletOperation(ctx, topUp, goclient.CreateWalletOperationParams{WalletID: otherID, Prefer: wait}))
	if err != nil {
		return err
	}
	fmt.Printf("by path: balance %d\n", toppedUp.BalanceAfter.Value)
	sent, _, err := operation(client.CreateTransfer(ctx, &goclient.TransferRequest{ToWalletID: otherID, Amount: 40}, goclient.CreateTransferParams{WalletID: walletID, Prefer: wait}))
	if err != nil {
		return err
	}
	fmt.Printf("transfer: %s, to the other wallet %t\n", sent.Settlement.Value, sent.Counterpart.Value.WalletID == otherID)
	reversal := &goclient.ReverseRequest{Amount: goclient.NewOptAmount(10)}
	reversed, _, err := operation(client.ReverseOperation(ctx, reversal, goclient.ReverseOperationParams{WalletID: walletID, OperationID: depositID, Prefer: wait}))
	if err != nil {
		return err
	}
	fmt.Printf("reversed: %d, balance %d\n", reversed.Amount.Value, reversed.BalanceAfter.Value)

	freeze := &goclient.StateRequest{State: goclient.WalletStateFROZEN, Reason: "case 17"}
	frozen, _, err := operation(client.SetWalletState(ctx, freeze, goclient.SetWalletStateParams{WalletID: walletID, Prefer: wait}))
	if err != nil {
		return err
	}
	withdraw := &goclient.OperationRequest{WalletID: walletID, OperationType: goclient.OperationTypeWITHDRAW, Amount: 1}
	refused, _, err := operation(client.CreateOperation(ctx, withdraw, goclient.CreateOperationParams{Prefer: wait}))
	if err != nil {
		return err
	}
	fmt.Printf("frozen: %s, then %s\n", frozen.Status, refused.FailureReason.Value)
	read, err := client.GetWallet(ctx, goclient.GetWalletParams{WalletID: walletID})
	if err != nil {
		return err
	}
	now, ok := read.(*goclient.WalletReadHeaders)
	if !ok {
		return fmt.Errorf("get wallet: %T", read)
	}
	fmt.Printf("wallet: %s, order %s\n", now.Response.State, now.Response.Metadata.Value["order"])
	return nil
}

// operation is what the answer to any request for one says, and whether it was there already.
func operation(answer any, err error) (goclient.Operation, bool, error) {
	if err != nil {
		return goclient.Operation{}, false, err
	}
	switch answer := answer.(type) {
	case *goclient.OperationAcceptedHeaders: // 202: it will be applied
		return answer.Response, answer.IdempotencyReplayed.Value, nil
	case *goclient.OperationFinishedHeaders: // 200: it is PROCESSED or FAILED
		return answer.Response, answer.IdempotencyReplayed.Value, nil
	}
	return goclient.Operation{}, false, fmt.Errorf("create operation: %T", answer)
}

func printProblem(err error) {
	var problem *goclient.ProblemStatusCodeWithHeaders
	if errors.As(err, &problem) {
		fmt.Printf("problem: %d %s\n", problem.StatusCode, problem.Response.Code)
	} else {
		fmt.Printf("no problem: %v\n", err)
	}
}
