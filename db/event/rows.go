package event

import (
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// MaxRow bounds the bytes of an outbox row's key, payload and headers together: with the rest of the row they fit on
// a page of Postgres.
const MaxRow = 7_680

// RunType is the ce_type of a Run, and the type of a webhook that has one.
const RunType = "legendary-wallet.wallet.advanced.v1"

// RunID is the ce_id of a run: no two have the same.
func RunID(walletID uuid.UUID, version int64) string {
	return walletID.String() + ":" + strconv.FormatInt(version, 10)
}

// Rows are rows of the outbox that tell of outcomes, column by column: runs as CloudEvents 1.0, in Kafka's binary mode.
// Begin, Add for each of the wallet's operations, End; and so on with the next wallet.
type Rows struct {
	Keys      []string
	Payloads  []byte  // one after the other: an array of them would be copied several times on its way to Postgres
	Starts    []int32 // where each begins, from 1 on
	Lengths   []int32
	Headers   []string
	Truncated int // of them

	source  string // ce_source: which system it is that tells of them
	wallet  Wallet
	key     string // of the wallet
	room    int    // for the operations of a run
	scratch []byte // of which text is a part

	// The run that is written now, up to the last operation added.
	run        Run
	operations int
	text       []byte // the operations
	last       time.Time
	trace      string // the last one's that has one
}

// NewRows makes none of a source, which is a URI reference. They are going to tell of about so many operations.
func NewRows(source string, operations int) *Rows {
	const each = 400 // bytes
	return &Rows{source: source, Payloads: make([]byte, 0, each*operations)}
}

// Payload is that of a row.
func (r *Rows) Payload(row int) []byte {
	start := r.Starts[row] - 1
	return r.Payloads[start : start+r.Lengths[row]]
}

// Begin is followed by consecutive operations of the wallet, in order.
func (r *Rows) Begin(wallet Wallet) {
	another := r.room == 0 || wallet.Tenant != r.wallet.Tenant || wallet.Currency != r.wallet.Currency
	r.wallet, r.key = wallet, wallet.ID.String()
	if another {
		r.room = MaxRow - r.around()
	}
}

// around is how many bytes a row has at most, its operations apart.
func (r *Rows) around() int {
	const most = math.MaxInt64
	longest := Run{
		WalletID: r.wallet.ID, Tenant: r.wallet.Tenant, Currency: r.wallet.Currency,
		FromSequence: most, Version: most, Balance: most, Held: most, Available: most, State: "LONGER THAN ANY", Truncated: true,
	}
	r.scratch = longest.appendTail(longest.appendHead(r.scratch[:0]), 1)
	size := len(r.key) + len(r.scratch)
	r.scratch = appendHeaders(r.scratch[:0], r.source, &longest, time.Time{}, "00-00000000000000000000000000000000-0000000000000000-00")
	return size + len(r.scratch)
}

// Add puts an operation into the run, or if the row would be too large, into the next one. No operation is too large for
// a row: one whose metadata would make it so is a run of its own, without that.
func (r *Rows) Add(o *Finished) {
	if r.operations == 0 {
		r.text = r.scratch[:0]
	}
	before := len(r.text)
	r.text = o.Append(appendSeparator(r.text, r.operations))
	if len(r.text) > r.room {
		r.text = r.text[:before]
		if r.operations > 0 {
			r.End()
			r.Add(o)
			return
		}
		r.run.Truncated = true
		r.Truncated++
		bare := o.Operation
		bare.Metadata = nil
		r.text = bare.Append(appendSeparator(r.text, 0))
	}
	if r.operations == 0 {
		truncated := r.run.Truncated
		r.run = r.wallet.begin(o)
		r.run.Truncated = truncated
	}
	r.run.end(o)
	r.operations++
	r.last = o.AppliedAt
	if o.Traceparent != "" {
		r.trace = o.Traceparent
	}
	if r.run.Truncated {
		r.End()
	}
}

// End ends the run, if there is one.
func (r *Rows) End() {
	if r.operations == 0 {
		return
	}
	start := len(r.Payloads)
	r.Payloads = r.run.appendHead(r.Payloads)
	r.Payloads = r.run.appendTail(append(r.Payloads, r.text...), r.operations)
	r.Keys = append(r.Keys, r.key)
	r.Starts = append(r.Starts, int32(start+1))
	r.Lengths = append(r.Lengths, int32(len(r.Payloads)-start))
	r.scratch = appendHeaders(r.text[:0], r.source, &r.run, r.last, r.trace)
	r.Headers = append(r.Headers, string(r.scratch))
	r.run, r.operations, r.trace = Run{}, 0, ""
}

// appendHeaders appends them as the JSON object that the outbox has.
func appendHeaders(text []byte, source string, run *Run, at time.Time, trace string) []byte {
	text = append(text, `{"ce_specversion":"1.0","ce_type":"`+RunType+`"`...)
	text = appendString(append(text, `,"ce_source":`...), source)
	text = appendID(append(text, `,"ce_id":"`...), run.WalletID)
	text = strconv.AppendInt(append(text, ':'), run.Version, 10)
	text = appendID(append(text, `","ce_subject":"`...), run.WalletID)
	text = appendTime(append(text, `","ce_time":`...), at)
	text = append(text, `,"content-type":"application/json"`...)
	if trace != "" {
		text = appendString(append(text, `,"traceparent":`...), trace)
	}
	return append(text, '}')
}
