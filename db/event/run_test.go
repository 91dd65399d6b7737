package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

var (
	aWallet = Wallet{ID: uuid.MustParse("6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11"), Tenant: "default", Currency: "EUR"}
	noon    = time.Date(2026, 11, 24, 12, 0, 0, 123456000, time.UTC)
)

func finished(seq int64) Finished {
	return Finished{State: "ACTIVE", Operation: Operation{
		OperationID: uuid.MustParse("0192f5a0-7b1c-7def-8a3b-1234567890ab"), WalletID: aWallet.ID, Sequence: seq, OperationType: "DEPOSIT",
		Amount: 5, Status: "PROCESSED", BalanceAfter: 5 * seq, AvailableAfter: 5 * seq, CreatedAt: noon, AppliedAt: noon.Add(time.Duration(seq%1_000) * time.Second),
	}}
}

func TestRunIsWrittenAsTheAPIWrites(t *testing.T) {
	t.Parallel()
	final := true
	plain, full := finished(1), finished(2)
	full.OperationType, full.HeldAfter, full.AvailableAfter, full.FailureReason = "CAPTURE", 3, 7, "EXCEEDS_HOLD"
	full.SubjectID, full.Counterpart = plain.OperationID, Counterpart{aWallet.ID, plain.OperationID}
	full.ExpiresAt, full.Final, full.Reference = noon.In(time.FixedZone("an hour ahead", 3600)), &final, "<a> & \"b\" \\ é\u2028\x01"
	full.Metadata, full.State = json.RawMessage(`{"order": "8 15", "<": "&"}`), "FROZEN"
	run := aWallet.Run(plain, full)
	got := string(run.Append([]byte("before")))
	want := `before{"walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","tenant":"default","currency":"EUR","fromSequence":1,"version":2,` +
		`"balance":10,"held":3,"available":7,"state":"FROZEN","operations":[` +
		`{"operationId":"0192f5a0-7b1c-7def-8a3b-1234567890ab","walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","sequence":1,"operationType":"DEPOSIT",` +
		`"amount":5,"status":"PROCESSED","balanceAfter":5,"heldAfter":0,"availableAfter":5,` +
		`"createdAt":"2026-11-24T12:00:00.123456Z","appliedAt":"2026-11-24T12:00:01.123456Z"},` +
		`{"operationId":"0192f5a0-7b1c-7def-8a3b-1234567890ab","walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","sequence":2,"operationType":"CAPTURE",` +
		`"amount":5,"status":"PROCESSED","failureReason":"EXCEEDS_HOLD","balanceAfter":10,"heldAfter":3,"availableAfter":7,` +
		`"subjectId":"0192f5a0-7b1c-7def-8a3b-1234567890ab","counterpart":{"walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","operationId":"0192f5a0-7b1c-7def-8a3b-1234567890ab"},` +
		`"expiresAt":"2026-11-24T12:00:00.123456Z","final":true,"reference":"<a> & \"b\" \\ é` + "\u2028" + `\u0001","metadata":{"order":"8 15","<":"&"},` +
		`"createdAt":"2026-11-24T12:00:00.123456Z","appliedAt":"2026-11-24T12:00:02.123456Z"}]}`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	var decoded Run
	if err := json.Unmarshal([]byte(got[len("before"):]), &decoded); err != nil {
		t.Fatal(err)
	}
	run.Operations[1].ExpiresAt = run.Operations[1].ExpiresAt.UTC()
	run.Operations[1].Metadata = json.RawMessage(`{"order":"8 15","<":"&"}`)
	if diff := cmp.Diff(run, decoded); diff != "" {
		t.Errorf("decoded as %s", diff)
	}
	now := Run{WalletID: aWallet.ID, Tenant: "default", Currency: "EUR", Version: 2, Balance: 10, Held: 3, Available: 7, State: "ACTIVE"}
	want = `{"walletId":"6a1c0f2e-5d0b-4c53-9f54-3b2f0c7a9e11","tenant":"default","currency":"EUR","version":2,"balance":10,"held":3,"available":7,"state":"ACTIVE"}`
	if got := string(now.Append(nil)); got != want {
		t.Errorf("without operations: %s\nwant %s", got, want)
	}
}

// What Append writes is what encoding/json would write, but for escapes and the form of times.
func TestAppendIsJSON(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	for range 2_000 {
		o := finished(random.Int64N(math.MaxInt64))
		o.Reference = anyText(random, 20)
		o.State, o.Metadata = anyText(random, 3), anyMetadata(random, 3, 20)
		o.HeldAfter = random.Int64()
		run := aWallet.Run(o)
		run.Tenant = anyText(random, 5)
		text := run.Append(nil)
		var got, want any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		other, err := json.Marshal(run)
		if err == nil {
			err = json.Unmarshal(other, &want)
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Fatalf("%v %s", err, diff)
		}
		if bytes.Contains(text, []byte(`\u003c`)) {
			t.Fatalf("%s escapes more than it must", text)
		}
	}
}

// anyText has what Postgres may have in a text: every character but NUL.
func anyText(random *rand.Rand, length int) string {
	const alphabet = "a<>&\"\\/\x01\x1f\x7f\u2028é😀 "
	runes := []rune(alphabet)
	var text strings.Builder
	for range random.IntN(length + 1) {
		text.WriteRune(runes[random.IntN(len(runes))])
	}
	return text.String()
}

// anyMetadata is as Postgres writes jsonb.
func anyMetadata(random *rand.Rand, keys, length int) json.RawMessage {
	var text []byte
	for i := range random.IntN(keys + 1) {
		separator := ", "
		if i == 0 {
			separator = "{"
		}
		text = appendString(append(text, separator...), fmt.Sprint(i)+anyText(random, length))
		text = appendString(append(text, ": "...), anyText(random, length))
	}
	if text == nil {
		return nil
	}
	return append(text, '}')
}

// The rows of a batch: each fits, they follow each other without a gap, and together they are the operations.
func TestRows(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(2, 1))
	sources := []string{"legendary-wallet", strings.Repeat("s", 256)}
	runs, truncated := 0, 0
	for range 300 {
		source := sources[random.IntN(len(sources))]
		first := 1 + random.Int64N(math.MaxInt64/10)
		operations := make([]Finished, 1+random.IntN(300))
		for i := range operations {
			operations[i] = finished(first + int64(i))
			o := &operations[i]
			o.State = []string{"ACTIVE", "FROZEN", "CLOSED"}[random.IntN(3)]
			switch random.IntN(20) {
			case 0:
				o.Traceparent = fmt.Sprintf("00-%032d-%016d-01", i, i)
			case 1:
				o.Reference = anyText(random, 128)
			case 2:
				o.Metadata = anyMetadata(random, 20, 100)
			case 3:
				o.Metadata = json.RawMessage(`{"k":"` + strings.Repeat("v", random.IntN(9_000)) + `"}`)
			}
		}
		rows := NewRows(source, random.IntN(10))
		rows.Begin(Wallet{ID: uuid.UUID{7}}) // another one before it
		rows.Add(&Finished{Traceparent: "of another wallet"})
		rows.End()
		rows.Keys, rows.Headers, rows.Starts, rows.Lengths = nil, nil, nil, nil
		rows.Begin(aWallet)
		for i := range operations {
			rows.Add(&operations[i])
		}
		rows.End()
		if len(rows.Keys) != len(rows.Starts) || len(rows.Keys) != len(rows.Lengths) || len(rows.Keys) != len(rows.Headers) {
			t.Fatalf("%d keys, %d and %d payloads, %d headers", len(rows.Keys), len(rows.Starts), len(rows.Lengths), len(rows.Headers))
		}
		left := operations
		for i := range rows.Keys {
			payload := rows.Payload(i)
			size := len(rows.Keys[i]) + len(payload) + len(rows.Headers[i])
			if size > MaxRow {
				t.Fatalf("a row has %d bytes", size)
			}
			var run Run
			if err := json.Unmarshal(payload, &run); err != nil {
				t.Fatal(err)
			}
			n := len(run.Operations)
			want := aWallet.Run(left[:n]...)
			if run.Truncated {
				truncated++
				if fits := len(want.Append(nil)) + len(rows.Keys[i]) + len(rows.Headers[i]); n != 1 || fits <= MaxRow-250 {
					t.Fatalf("a run of %d operations, which would have %d bytes, is truncated", n, fits)
				}
				want.Operations[0].Metadata, want.Truncated = nil, true
			}
			if got := string(payload); got != string(want.Append(nil)) {
				t.Fatalf("%s\nwant\n%s", got, want.Append(nil))
			}
			if n < len(left) && !run.Truncated && size+len(left[n].Append(nil)) <= MaxRow-250 {
				t.Fatalf("%d bytes, and the next operation, which has %d, is in another run", size, len(left[n].Append(nil)))
			}
			checkHeaders(t, rows.Headers[i], source, left[:n])
			if rows.Keys[i] != aWallet.ID.String() {
				t.Fatalf("key %s", rows.Keys[i])
			}
			left = left[n:]
			runs++
		}
		if len(left) > 0 {
			t.Fatalf("%d of %d operations are missing", len(left), len(operations))
		}
	}
	if runs < 1_000 || truncated < 50 {
		t.Errorf("only %d runs, %d truncated", runs, truncated)
	}
}

func checkHeaders(t *testing.T, text string, source string, run []Finished) {
	t.Helper()
	var got map[string]string
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	last := run[len(run)-1]
	want := map[string]string{
		"ce_specversion": "1.0", "ce_type": "legendary-wallet.wallet.advanced.v1", "ce_source": source,
		"ce_id": fmt.Sprintf("%s:%d", aWallet.ID, last.Sequence), "ce_subject": aWallet.ID.String(),
		"ce_time": last.AppliedAt.Format("2006-01-02T15:04:05.000000Z"), "content-type": "application/json",
	}
	for _, o := range run {
		if o.Traceparent != "" {
			want["traceparent"] = o.Traceparent
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func BenchmarkRows(b *testing.B) {
	operations := make([]Finished, 2_000)
	for i := range operations {
		operations[i] = finished(int64(1_000_000 + i))
	}
	for b.Loop() {
		rows := NewRows("legendary-wallet", len(operations))
		rows.Begin(aWallet)
		for i := range operations {
			rows.Add(&operations[i])
		}
		rows.End()
		b.ReportMetric(float64(len(rows.Keys)), "rows")
	}
}

func TestTimesAreWrittenAsTheTimePackageWrites(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 1))
	times := []time.Time{{}, noon, time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}
	for range 10_000 {
		times = append(times, time.Unix(random.Int64N(400_000_000_000)-62_000_000_000, random.Int64N(1e9)).In(time.FixedZone("", random.IntN(100_000)-50_000)))
	}
	for _, at := range times {
		if got, want := string(appendTime(nil, at)), at.UTC().Format(`"`+timeFormat+`"`); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	}
}
