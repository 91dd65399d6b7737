// Command go does, with the client that ogen generates, what every client does, and prints what it sees.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/clients/goclient"
)

func main() {
	if err := run(context.Background(), os.Getenv("API_URL"), os.Getenv("API_KEY"), os.Getenv("WALLET_CELL")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// apiKey is what the client asks for before each request.
type apiKey string

func (k apiKey) BearerAuth(context.Context, goclient.OperationName) (goclient.BearerAuth, error) {
	return goclient.BearerAuth{Token: string(k)}, nil
}

// inCell names a cell in every request, where there are several: it counts for those whose path has no wallet.
type inCell string

func (cell inCell) Do(request *http.Request) (*http.Response, error) {
	if cell != "" {
		request.Header.Set("Wallet-Cell", string(cell))
	}
	return http.DefaultClient.Do(request)
}

func run(ctx context.Context, url, key, cell string) error {
	client, err := goclient.NewClient(url, apiKey(key), goclient.WithClient(inCell(cell)))
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

	waiting := goclient.CreateOperationParams{Prefer: wait}
	withdraw := &goclient.OperationRequest{WalletID: wallet.WalletID, OperationType: goclient.OperationTypeWITHDRAW, Amount: 300}
	paid, _, err := operation(client.CreateOperation(ctx, withdraw, waiting))
	if err != nil {
		return err
	}
	fmt.Printf("withdrawal: %s, balance %d\n", paid.Status, paid.BalanceAfter.Value)
	withdraw.Amount = 5000
	refused, _, err := operation(client.CreateOperation(ctx, withdraw, waiting))
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

	money := scenario{client: client, wallet: wallet.WalletID, deposit: first.OperationID, key: retriable.IdempotencyKey}
	if err := money.run(ctx); err != nil {
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
	_, err = client.CaptureHold(ctx, &goclient.CaptureRequest{}, goclient.CaptureHoldParams{WalletID: wallet.WalletID, HoldID: uuid.New()})
	printProblem(err)
	return nil
}

// scenario is what happens to a wallet with holds, transfers, reversals, states and a webhook. Each request for an operation
// has an interface of its own for its answers: with `Prefer: wait` the answer is a finished operation.
type scenario struct {
	client                       *goclient.Client
	wallet, deposit, other, hold uuid.UUID
	key                          goclient.OptString    // of the deposit
	reference                    goclient.OptReference // of the other wallet
	expires, held                goclient.Moment
	sent                         goclient.Operation
}

var wait = goclient.NewOptString("wait=30")

func (s *scenario) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{s.keep, s.capture, s.release, s.topUp, s.transfer, s.reverse, s.read, s.sell, s.batch, s.find, s.follow, s.freeze, s.look, s.hear} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) keep(ctx context.Context) error {
	s.expires = goclient.Moment(time.Now().Add(time.Hour))
	request := &goclient.HoldRequest{Amount: 500, ExpiresAt: goclient.NewOptMoment(s.expires)}
	answer, err := s.client.CreateHold(ctx, request, goclient.CreateHoldParams{WalletID: s.wallet, Prefer: wait})
	hold, ok := answer.(*goclient.OperationFinishedHeaders)
	if !ok {
		return fmt.Errorf("hold: %T, %w", answer, err)
	}
	o := hold.Response
	s.hold, s.held = o.OperationID, goclient.Moment(o.CreatedAt)
	fmt.Printf("hold: %s, held %d, available %d\n", o.Status, o.HeldAfter.Value, o.AvailableAfter.Value)
	open, err := s.client.ListHolds(ctx, goclient.ListHoldsParams{WalletID: s.wallet})
	if err != nil {
		return err
	}
	fmt.Printf("open holds: %d, remaining %d\n", len(open.Response.Items), open.Response.Items[0].Remaining)
	return nil
}

func (s *scenario) capture(ctx context.Context) error {
	for _, request := range []goclient.CaptureRequest{
		{Amount: goclient.NewOptAmount(200), Final: goclient.NewOptBool(false)},
		{}, // all that remains
	} {
		answer, err := s.client.CaptureHold(ctx, &request, goclient.CaptureHoldParams{WalletID: s.wallet, HoldID: s.hold, Prefer: wait})
		captured, ok := answer.(*goclient.OperationFinishedHeaders)
		if !ok {
			return fmt.Errorf("capture: %T, %w", answer, err)
		}
		fmt.Printf("captured: %d, held %d\n", captured.Response.Amount.Value, captured.Response.HeldAfter.Value)
	}
	closed, err := s.client.GetHold(ctx, goclient.GetHoldParams{WalletID: s.wallet, HoldID: s.hold})
	if err != nil {
		return err
	}
	fmt.Printf("hold: %s, captured %d\n", closed.Response.Status, closed.Response.Captured)
	return nil
}

// release does not wait for the hold: it may be released as soon as it is accepted.
func (s *scenario) release(ctx context.Context) error {
	held, err := s.client.CreateHold(ctx, &goclient.HoldRequest{Amount: 100}, goclient.CreateHoldParams{WalletID: s.wallet})
	second, ok := held.(*goclient.OperationAcceptedHeaders)
	if !ok {
		return fmt.Errorf("hold: %T, %w", held, err)
	}
	answer, err := s.client.ReleaseHold(ctx, &goclient.ReleaseRequest{}, goclient.ReleaseHoldParams{
		WalletID: s.wallet, HoldID: second.Response.OperationID, Prefer: wait,
	})
	released, ok := answer.(*goclient.OperationFinishedHeaders)
	if !ok {
		return fmt.Errorf("release: %T, %w", answer, err)
	}
	fmt.Printf("released: %d, available %d\n", released.Response.Amount.Value, released.Response.AvailableAfter.Value)
	return nil
}

func (s *scenario) topUp(ctx context.Context) error {
	s.reference = goclient.NewOptReference(goclient.Reference(uuid.NewString()))
	answer, err := s.client.CreateWallet(ctx, &goclient.WalletRequest{Currency: goclient.NewOptCurrency("EUR"), Reference: s.reference}, goclient.CreateWalletParams{})
	other, ok := answer.(*goclient.WalletCreatedHeaders)
	if !ok {
		return fmt.Errorf("create wallet: %T, %w", answer, err)
	}
	s.other = other.Response.WalletID
	request := &goclient.WalletOperationRequest{OperationType: goclient.OperationTypeDEPOSIT, Amount: 5}
	paid, err := s.client.CreateWalletOperation(ctx, request, goclient.CreateWalletOperationParams{WalletID: s.other, Prefer: wait})
	toppedUp, ok := paid.(*goclient.OperationFinishedHeaders)
	if !ok {
		return fmt.Errorf("top up: %T, %w", paid, err)
	}
	fmt.Printf("by path: balance %d\n", toppedUp.Response.BalanceAfter.Value)
	return nil
}

func (s *scenario) transfer(ctx context.Context) error {
	request := &goclient.TransferRequest{ToWalletID: s.other, Amount: 40}
	answer, err := s.client.CreateTransfer(ctx, request, goclient.CreateTransferParams{WalletID: s.wallet, Prefer: wait})
	sent, ok := answer.(*goclient.OperationFinishedHeaders)
	if !ok {
		return fmt.Errorf("transfer: %T, %w", answer, err)
	}
	s.sent = sent.Response
	fmt.Printf("transfer: %s, to the other wallet %t\n", s.sent.Settlement.Value, s.sent.Counterpart.Value.WalletID == s.other)
	return nil
}

func (s *scenario) reverse(ctx context.Context) error {
	request := &goclient.ReverseRequest{Amount: goclient.NewOptAmount(10)}
	answer, err := s.client.ReverseOperation(ctx, request, goclient.ReverseOperationParams{WalletID: s.wallet, OperationID: s.deposit, Prefer: wait})
	reversed, ok := answer.(*goclient.OperationFinishedHeaders)
	if !ok {
		return fmt.Errorf("reverse: %T, %w", answer, err)
	}
	fmt.Printf("reversed: %d, balance %d\n", reversed.Response.Amount.Value, reversed.Response.BalanceAfter.Value)
	return nil
}

// read filters the statement, and asks for the wallet as it was when its money was held.
func (s *scenario) read(ctx context.Context) error {
	page, err := s.client.ListOperations(ctx, goclient.ListOperationsParams{
		WalletID: s.wallet, SubjectID: goclient.NewOptUUID(s.hold), Order: goclient.NewOptOrder(goclient.OrderAsc),
	})
	if err != nil {
		return err
	}
	for _, o := range page.Response.Items {
		fmt.Printf("of the hold: %s %d\n", o.OperationType, o.Amount.Value)
	}
	page, err = s.client.ListOperations(ctx, goclient.ListOperationsParams{
		WalletID: s.wallet,
		Type:     goclient.NewOptTypeFilter(goclient.TypeFilterTRANSFER), Status: goclient.NewOptStatusFilter(goclient.StatusFilterPROCESSED),
		From: goclient.NewOptMoment(goclient.Moment(s.sent.CreatedAt)), To: goclient.NewOptMoment(s.expires),
	})
	if err != nil {
		return err
	}
	for _, o := range page.Response.Items {
		fmt.Printf("found: %s %d\n", o.OperationType, o.Amount.Value)
	}
	answer, err := s.client.GetWallet(ctx, goclient.GetWalletParams{WalletID: s.wallet, At: goclient.NewOptMoment(s.held)})
	then, ok := answer.(*goclient.WalletReadHeaders)
	if !ok {
		return fmt.Errorf("wallet when it was held: %T, %w", answer, err)
	}
	fmt.Printf("when it was held: balance %d, held %d\n", then.Response.Balance, then.Response.Held)
	return nil
}

// sell captures a hold for the other wallet. What went there by a transfer cannot be reversed.
func (s *scenario) sell(ctx context.Context) error {
	held, err := s.client.CreateHold(ctx, &goclient.HoldRequest{Amount: 50}, goclient.CreateHoldParams{WalletID: s.wallet})
	third, ok := held.(*goclient.OperationAcceptedHeaders)
	if !ok {
		return fmt.Errorf("hold: %T, %w", held, err)
	}
	request := &goclient.CaptureRequest{ToWalletID: goclient.NewOptUUID(s.other)}
	answer, err := s.client.CaptureHold(ctx, request, goclient.CaptureHoldParams{WalletID: s.wallet, HoldID: third.Response.OperationID, Prefer: wait})
	sold, ok := answer.(*goclient.OperationFinishedHeaders)
	if !ok {
		return fmt.Errorf("capture: %T, %w", answer, err)
	}
	fmt.Printf("captured for the other wallet: %d %s\n", sold.Response.Amount.Value, sold.Response.Settlement.Value)
	_, err = s.client.ReverseOperation(ctx, &goclient.ReverseRequest{}, goclient.ReverseOperationParams{WalletID: s.wallet, OperationID: s.sent.OperationID})
	printProblem(err)
	return nil
}

// batch accepts one operation, and refuses one that has the key of another.
func (s *scenario) batch(ctx context.Context) error {
	answer, err := s.client.CreateOperations(ctx, &goclient.BatchRequest{Operations: []goclient.BatchOperation{
		{WalletID: s.other, OperationType: goclient.BatchOperationTypeDEPOSIT, Amount: 7},
		{WalletID: s.wallet, OperationType: goclient.BatchOperationTypeDEPOSIT, Amount: 9, IdempotencyKey: s.key},
	}}, goclient.CreateOperationsParams{})
	if err != nil {
		return err
	}
	var accepted uuid.UUID
	for _, item := range answer.Items {
		if item.IsOperation() {
			accepted = item.Operation.OperationID
			fmt.Printf("batch: sequence %d\n", item.Operation.Sequence)
		} else {
			fmt.Printf("batch: %d %s\n", item.Problem.Status, item.Problem.Code)
		}
	}
	read, err := s.client.GetOperation(ctx, goclient.GetOperationParams{WalletID: s.other, OperationID: accepted, Prefer: wait})
	if err != nil {
		return err
	}
	fmt.Printf("after the batch: %s, balance %d\n", read.Response.Status, read.Response.BalanceAfter.Value)
	return nil
}

// find finds an operation without its wallet, and a wallet by its reference.
func (s *scenario) find(ctx context.Context) error {
	answer, err := s.client.FindOperation(ctx, goclient.FindOperationParams{OperationID: s.deposit, Timeline: goclient.NewOptBool(true)})
	if err != nil {
		return err
	}
	o := answer.Response
	fmt.Printf("by its id: %s %d, pending before it %d\n", o.OperationType, o.Amount.Value, o.Timeline.Value.PendingBefore)
	page, err := s.client.ListWallets(ctx, goclient.ListWalletsParams{Reference: s.reference})
	if err != nil {
		return err
	}
	for _, w := range page.Response.Items {
		fmt.Printf("by its reference: the other wallet %t, balance %d\n", w.WalletID == s.other, w.Balance)
	}
	return nil
}

// follow prints nothing: not every generated client can read a stream. It goes on for an hour, so it is left.
func (s *scenario) follow(ctx context.Context) error {
	answer, err := s.client.FollowWallet(ctx, goclient.FollowWalletParams{WalletID: s.wallet, After: goclient.NewOptInt64(0)})
	stream, ok := answer.(*goclient.FollowWalletOKRawTextEventStream)
	if !ok {
		return fmt.Errorf("follow: %T, %w", answer, err)
	}
	defer stream.Response.Body.Close()
	for lines := bufio.NewScanner(stream.Response.Body); lines.Scan(); {
		if event, isData := strings.CutPrefix(lines.Text(), "data:"); isData && strings.Contains(event, s.deposit.String()) {
			return nil
		}
	}
	return errors.New("the stream ended without the deposit")
}

func (s *scenario) freeze(ctx context.Context) error {
	request := &goclient.StateRequest{State: goclient.WalletStateFROZEN, Reason: "case 17"}
	answer, err := s.client.SetWalletState(ctx, request, goclient.SetWalletStateParams{WalletID: s.wallet, Prefer: wait})
	frozen, ok := answer.(*goclient.OperationFinishedHeaders)
	if !ok {
		return fmt.Errorf("freeze: %T, %w", answer, err)
	}
	withdraw := &goclient.OperationRequest{WalletID: s.wallet, OperationType: goclient.OperationTypeWITHDRAW, Amount: 1}
	refused, _, err := operation(s.client.CreateOperation(ctx, withdraw, goclient.CreateOperationParams{Prefer: wait}))
	if err != nil {
		return err
	}
	fmt.Printf("frozen: %s, then %s\n", frozen.Response.Status, refused.FailureReason.Value)
	read, err := s.client.GetWallet(ctx, goclient.GetWalletParams{WalletID: s.wallet})
	now, ok := read.(*goclient.WalletReadHeaders)
	if !ok {
		return fmt.Errorf("wallet: %T, %w", read, err)
	}
	fmt.Printf("wallet: %s, order %s\n", now.Response.State, now.Response.Metadata.Value["order"])
	return nil
}

// look asks what the key may do, and how the system is.
func (s *scenario) look(ctx context.Context) error {
	key, err := s.client.GetKey(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("key: may write operations %t\n", slices.Contains(key.Response.Scopes, "operations:write"))
	status, err := s.client.GetStatus(ctx)
	if err != nil {
		return err
	}
	leads := slices.ContainsFunc(status.Response.Relays, func(r goclient.RelayStatus) bool { return r.Leading })
	fmt.Printf("status: a relay leads %t\n", leads)
	return nil
}

// hear makes a webhook, asks all that can be asked of it, and deletes it.
func (s *scenario) hear(ctx context.Context) error {
	request := &goclient.WebhookRequest{URL: "http://127.0.0.1:1/hooks", Wallets: []uuid.UUID{s.wallet}}
	answer, err := s.client.CreateWebhook(ctx, request, goclient.CreateWebhookParams{})
	created, ok := answer.(*goclient.WebhookCreatedHeaders)
	if !ok {
		return fmt.Errorf("create webhook: %T, %w", answer, err)
	}
	id, secret := created.Response.ID, created.Response.Secret.Value
	fmt.Printf("webhook: %s, secret %t\n", created.Response.State, secret != "")
	page, err := s.client.ListWebhooks(ctx, goclient.ListWebhooksParams{Limit: goclient.NewOptInt32(500)})
	if err != nil {
		return err
	}
	listed := slices.ContainsFunc(page.Response.Items, func(w goclient.Webhook) bool { return w.ID == id })
	fmt.Printf("listed: %t\n", listed)
	changes := &goclient.WebhookUpdate{Description: goclient.NewOptNilString("receipts"), Enabled: goclient.NewOptBool(false)}
	changed, err := s.client.UpdateWebhook(ctx, changes, goclient.UpdateWebhookParams{ID: id})
	if err != nil {
		return err
	}
	fmt.Printf("changed: %s, enabled %t\n", changed.Response.Description.Value, changed.Response.Enabled)
	read, err := s.client.GetWebhook(ctx, goclient.GetWebhookParams{ID: id})
	if err != nil {
		return err
	}
	fmt.Printf("read: wallets %d, secret %t\n", len(read.Response.Wallets), read.Response.Secret.Set)
	rotated, err := s.client.RotateWebhookSecret(ctx, goclient.RotateWebhookSecretParams{ID: id})
	if err != nil {
		return err
	}
	fmt.Printf("rotated: another secret %t\n", rotated.Response.Secret.Set && rotated.Response.Secret.Value != secret)
	attempts, err := s.client.ListWebhookAttempts(ctx, goclient.ListWebhookAttemptsParams{ID: id})
	if err != nil {
		return err
	}
	fmt.Printf("attempts: %d\n", len(attempts.Response.Items))
	return s.ask(ctx, id)
}

// ask leaves the deliverer of webhooks something to do.
func (s *scenario) ask(ctx context.Context, id uuid.UUID) error {
	tested, err := s.client.TestWebhook(ctx, goclient.TestWebhookParams{ID: id})
	if err != nil {
		return err
	}
	fmt.Printf("test: has a message %t\n", tested.MessageID.Set)
	replayed, err := s.client.ReplayWebhook(ctx, &goclient.ReplayRequest{Since: s.held}, goclient.ReplayWebhookParams{ID: id})
	if err != nil {
		return err
	}
	fmt.Printf("replay: asked for later %t\n", replayed.RequestID > tested.RequestID)
	_, err = s.client.SkipWebhookRun(ctx, goclient.NewOptSkipRequest(goclient.SkipRequest{}), goclient.SkipWebhookRunParams{ID: id})
	printProblem(err)
	if err := s.client.DeleteWebhook(ctx, goclient.DeleteWebhookParams{ID: id}); err != nil {
		return err
	}
	_, err = s.client.GetWebhook(ctx, goclient.GetWebhookParams{ID: id})
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
