package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/ogen-go/ogen/ogenerrors"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

// code is the stable name of an error, made for programs.
type code string

const (
	invalidRequest       code = "invalid-request"
	unauthorized         code = "unauthorized"
	forbidden            code = "forbidden"
	rateLimited          code = "rate-limited"
	walletNotFound       code = "wallet-not-found"
	operationNotFound    code = "operation-not-found"
	holdNotFound         code = "hold-not-found"
	notFound             code = "not-found"
	methodNotAllowed     code = "method-not-allowed"
	requestTooLarge      code = "request-too-large"
	unsupportedMediaType code = "unsupported-media-type"
	notYetApplied        code = "not-yet-applied"
	idempotencyKeyReused code = "idempotency-key-reused"
	currencyMismatch     code = "currency-mismatch"
	notReversible        code = "not-reversible"
	webhookNotFound      code = "webhook-not-found"
	urlRefused           code = "url-refused"
	tooManyWebhooks      code = "too-many-webhooks"
	notStalled           code = "not-stalled"
	wrongCellCode        code = "wrong-cell"
	otherCellCode        code = "other-cell"
	overloaded           code = "overloaded"
	outcomeUnknown       code = "outcome-unknown"
	internal             code = "internal"
)

// kinds is what each code means: its status and its words.
var kinds = map[code]struct {
	status int
	title  string
	detail string
}{
	invalidRequest:       {400, "Invalid request", "The request does not follow openapi.yaml."},
	unauthorized:         {401, "Unauthorized", "The request needs a valid API key, as Authorization: Bearer <key>."},
	forbidden:            {403, "Forbidden", "The API key does not have the scope that this request needs."},
	rateLimited:          {429, "Rate limited", "The API key has sent too many requests. Nothing was accepted."},
	walletNotFound:       {404, "Wallet not found", "There is no wallet with this id."},
	operationNotFound:    {404, "Operation not found", "The wallet has no operation with this id."},
	holdNotFound:         {404, "Hold not found", "The wallet has no hold with this id."},
	notFound:             {404, "Not found", "There is nothing at this path."},
	methodNotAllowed:     {405, "Method not allowed", "The path does not have this method; the header Allow lists those it has."},
	notYetApplied:        {409, "Not yet applied", "The wallet has not been applied up to this sequence."},
	requestTooLarge:      {413, "Request too large", "The body is larger than this request may be."},
	unsupportedMediaType: {415, "Unsupported media type", "The body's Content-Type must be application/json."},
	idempotencyKeyReused: {422, "Idempotency key reused", "This Idempotency-Key was used before with other content."},
	currencyMismatch:     {422, "Currency mismatch", "The wallet in toWalletId has another currency."},
	notReversible:        {422, "Not reversible", "Only a deposit, a withdrawal and a capture without toWalletId can be reversed."},
	webhookNotFound:      {404, "Webhook not found", "There is no webhook with this id."},
	urlRefused:           {422, "URL refused", "The URL may not be called."},
	tooManyWebhooks:      {422, "Too many webhooks", "The tenant has as many webhooks as it may have."},
	notStalled:           {409, "Not stalled", "There is no such run in the webhook's stalled."},
	wrongCellCode:        {421, "Wrong cell", "Another cell has to answer this request."},
	otherCellCode:        {422, "Other cell", "The wallet in toWalletId belongs to another cell."},
	overloaded:           {503, "Overloaded", "Nothing was accepted. Try again later."},
	outcomeUnknown:       {503, "Outcome unknown", "It may have been accepted or not. Send it again with the same Idempotency-Key, or look for it by its id."},
	internal:             {500, "Internal error", "The error is on our side and was logged."},
}

// problem is an error as a client gets it.
type problem struct {
	code        code
	detail      string // empty: the code's own
	errors      []oas.FieldError
	operationID oas.OptUUID
	walletID    oas.OptUUID
	webhookID   oas.OptUUID
	cell        oas.OptInt32  // that the problem is about
	challenge   string        // of WWW-Authenticate
	retryAfter  time.Duration // if the status says to try again; 0: a second
	// acceptEncoding is what the body may be encoded as, if that was the mistake (RFC 9110, 12.5.3).
	acceptEncoding string
}

func (p problem) Error() string { return string(p.code) + " " + p.detail }

// invalid names what is wrong with one field, parameter or header.
func invalid(field, detail string) problem {
	return problem{code: invalidRequest, errors: []oas.FieldError{{Field: field, Detail: detail}}}
}

// unknownOperation is the answer when the operation may have been accepted under this id.
func unknownOperation(id uuid.UUID) problem {
	return problem{code: outcomeUnknown, operationID: oas.NewOptUUID(id)}
}

// problemOf translates every error of every handler; what it does not know is internal, and logged.
func problemOf(ctx context.Context, err error) *oas.ProblemStatusCodeWithHeaders {
	var p problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, ogenerrors.ErrSecurityRequirementIsNotSatisfied):
		p = problem{code: unauthorized, challenge: "Bearer"}
	case errors.Is(err, errWalletNotFound):
		p.code = walletNotFound
	case errors.Is(err, errTargetNotFound):
		p = problem{code: walletNotFound, detail: "There is no wallet with the id in toWalletId."}
	case errors.Is(err, errOperationNotFound):
		p.code = operationNotFound
	case errors.Is(err, errHoldNotFound):
		p.code = holdNotFound
	case errors.Is(err, errWebhookNotFound):
		p.code = webhookNotFound
	case errors.Is(err, errNotYetApplied):
		p.code = notYetApplied
	case errors.Is(err, errKeyReused):
		p.code = idempotencyKeyReused
	case errors.Is(err, errCurrencyMismatch):
		p.code = currencyMismatch
	case errors.Is(err, errNotReversible):
		p.code = notReversible
	case errors.Is(err, errOverloaded):
		p.code = overloaded
	default:
		p.code = internal
		slog.ErrorContext(ctx, "request failed", "error", err, "request_id", callOf(ctx).id)
	}
	problems.WithLabelValues(string(p.code)).Inc()
	kind := kinds[p.code]
	if p.detail == "" {
		p.detail = kind.detail
	}
	response := &oas.ProblemStatusCodeWithHeaders{
		StatusCode: kind.status,
		Response: oas.Problem{
			Type: "urn:legendary-wallet:error:" + string(p.code), Title: kind.title, Status: int32(kind.status),
			Detail: oas.NewOptString(p.detail), Code: string(p.code), Errors: p.errors,
			OperationID: p.operationID, WalletID: p.walletID, WebhookID: p.webhookID, Cell: p.cell,
		},
	}
	if path := callOf(ctx).path; path != "" {
		response.Response.Instance = oas.NewOptString(path)
	}
	if p.challenge != "" {
		response.WWWAuthenticate = oas.NewOptString(p.challenge)
	}
	if p.acceptEncoding != "" {
		response.AcceptEncoding = oas.NewOptString(p.acceptEncoding)
	}
	switch kind.status {
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		response.RetryAfter = oas.NewOptInt32(max(1, int32(math.Ceil(p.retryAfter.Seconds()))))
	}
	return response
}

// writeProblem answers a request that ogen did not bring to a handler.
func writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	response := problemOf(r.Context(), err)
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	if response.RetryAfter.Set {
		header.Set("Retry-After", strconv.Itoa(int(response.RetryAfter.Value)))
	}
	if response.AcceptEncoding.Set {
		header.Set("Accept-Encoding", response.AcceptEncoding.Value)
	}
	w.WriteHeader(response.StatusCode)
	body, _ := response.Response.MarshalJSON() // of plain strings and numbers: it cannot fail
	_, _ = w.Write(body)
}
