package hook

import (
	"strconv"
	"time"

	"github.com/google/uuid"
)

// The kinds of hook_requests: what hooks is to do once.
const (
	Test    = "TEST"
	Replay  = "REPLAY"
	Skip    = "SKIP"
	Enable  = "ENABLE"
	Disable = "DISABLE"
)

// TypeTest is the type of the delivery that a TEST request leads to. All others have event.RunType.
const TypeTest = "legendary-wallet.webhook.test.v1"

// TestID is the webhook-id of the delivery that a TEST request leads to.
func TestID(endpointID uuid.UUID, request int64) string {
	return endpointID.String() + ":test:" + strconv.FormatInt(request, 10)
}

// EarlierSecret is one that was exchanged and signs too, encrypted: in hook_endpoints.older_secrets.
type EarlierSecret struct {
	Secret string    `json:"secret"`
	Until  time.Time `json:"until"`
}

// MaxListed is how many entries each JSON column of hook_states has at most: the last ones.
const MaxListed = 100

// Attempt is one attempt to deliver, in hook_states.attempts, the newest last.
type Attempt struct {
	At           time.Time  `json:"at"`
	WebhookID    string     `json:"webhookId"` // of the message, the same in each of its attempts
	Type         string     `json:"type"`
	WalletID     *uuid.UUID `json:"walletId,omitempty"` // none in a test, as the next two
	FromSequence int64      `json:"fromSequence,omitempty"`
	Version      int64      `json:"version,omitempty"`
	Number       int        `json:"number"`           // 1 is the message's first attempt
	Status       int        `json:"status,omitempty"` // of the answer; 0: there was none
	Milliseconds int64      `json:"milliseconds"`
	Error        string     `json:"error,omitempty"` // why it failed: at most 200 printable characters
}

// Run names operations of a wallet that are delivered together.
type Run struct {
	Run          string    `json:"run"` // the ce_id of the message
	WalletID     uuid.UUID `json:"walletId"`
	FromSequence int64     `json:"fromSequence"`
	Version      int64     `json:"version"`
}

// Stalled is a run that the receiver refuses, in hook_states.stalled, the first refused first. It is tried again;
// nothing that is too far behind it in its partition is delivered.
type Stalled struct {
	Run
	Since       time.Time  `json:"since"`
	Attempts    int        `json:"attempts"`
	NextAttempt *time.Time `json:"nextAttempt,omitempty"`
	Error       string     `json:"error"`
}

// Skipped is a run that the client told to skip, in hook_states.skipped, the newest last.
type Skipped struct {
	Run
	At time.Time `json:"at"`
}

// Missed are messages that were no longer in the log when the endpoint came to them, in hook_states.missed, the
// newest last: from the offset From to that before To.
type Missed struct {
	Partition int32     `json:"partition"`
	From      int64     `json:"from"`
	To        int64     `json:"to"`
	At        time.Time `json:"at"`
}
