package receiver

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestWhatIsTakenCountsAndNothingElse(t *testing.T) {
	t.Parallel()
	r, err := Record()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	verify, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	wallet := uuid.New()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	id := ""
	post := func(version int64, change func(*http.Request)) (status int) {
		run := event.Run{WalletID: wallet, FromSequence: version, Version: version, Operations: []event.Operation{{Sequence: version}}}
		body := []byte(fmt.Sprintf(`{"type":%q,"timestamp":"2026-11-24T10:15:30.123456Z","data":%s}`, event.RunType, run.Append(nil)))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		id, now := cmp.Or(id, event.RunID(wallet, version)), time.Now()
		signature, err := verify.Sign(id, now, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set(standardwebhooks.HeaderWebhookID, id)
		request.Header.Set(standardwebhooks.HeaderWebhookTimestamp, fmt.Sprint(now.Unix()))
		request.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
		if change != nil {
			change(request)
		}
		answer, err := client.Do(request)
		if err != nil {
			return 0
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	expect := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}

	expect("before the secret is known", post(1, nil), http.StatusBadRequest)
	r.Receiver.mu.Lock()
	r.verify = verify
	r.Receiver.mu.Unlock()
	expect("signed", post(1, nil), http.StatusNoContent)
	expect("another signature", post(2, func(q *http.Request) {
		q.Header.Set(standardwebhooks.HeaderWebhookSignature, "v1,"+strings.Repeat("A", 43)+"=")
	}), http.StatusBadRequest)
	id = event.RunID(wallet, 3)
	expect("another id", post(2, nil), http.StatusBadRequest)
	id = ""
	r.Refuse(http.StatusInternalServerError)
	expect("while it refuses", post(2, nil), http.StatusInternalServerError)
	r.Refuse(0)
	r.Leave()
	expect("while it is away", post(2, nil), 0)
	if err := r.Return(); err != nil {
		t.Fatal(err)
	}
	speak := r.FallSilent()
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	expect("while it is silent", post(2, func(q *http.Request) { *q = *q.WithContext(short) }), 0)
	speak()
	r.Takes = 2 * time.Second
	both := make(chan int)
	for version := range int64(2) {
		go func() { both <- post(2+version, nil) }()
	}
	expect("two at once", <-both+<-both, http.StatusNoContent+http.StatusBadRequest)

	if got := r.Got([]uuid.UUID{wallet}); len(got) != 2 || got[0].Version != 1 {
		t.Errorf("it has got %+v", got)
	}
	if got := r.Got([]uuid.UUID{uuid.New()}); len(got) != 0 {
		t.Errorf("of another wallet it has got %+v", got)
	}
	if broken := strings.Join(r.Forget(), "\n"); strings.Count(broken, "\n") != 3 || !strings.Contains(broken, "at once") {
		t.Errorf("wrong was %s", broken)
	}
	if got := r.Got([]uuid.UUID{wallet}); len(got) != 0 {
		t.Errorf("it has not forgotten %+v", got)
	}
}
