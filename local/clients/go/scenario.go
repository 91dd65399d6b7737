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
	created, err := client.CreateWallet(ctx, &goclient.WalletRequest{Currency: goclient.NewOptCurrency("EUR")}, goclient.CreateWalletParams{})
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
	return nil
}

// operation is what an answer says, and whether it was there already.
func operation(answer goclient.CreateOperationRes, err error) (goclient.Operation, bool, error) {
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
