package receiver

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/db/event"
)

func TestAWebhookIsPrintedAndAcknowledged(t *testing.T) {
	t.Parallel()
	const run = `"type":"legendary-wallet.wallet.advanced.v1","timestamp":"2026-11-24T10:15:30.123456Z"`
	const operation = `{"operationType":"DEPOSIT","amount":1000,"status":"PROCESSED"}`
	for name, c := range map[string]struct {
		id      string
		body    string
		status  int
		printed string
	}{
		"a run": {
			event.RunID(uuid.Nil, 1),
			`{` + run + `,"data":{"version":1,"currency":"USD","balance":1000,"operations":[` + operation + `]}}`,
			204, "  webhook 00000000-0000-0000-0000-000000000000:1: DEPOSIT 1000 PROCESSED; the wallet holds 1000 USD\n",
		},
		"a long run": {
			event.RunID(uuid.Nil, 5),
			`{` + run + `,"data":{"version":5,"currency":"USD","balance":5000,"operations":[` + strings.Repeat(operation+",", 4) + operation + `]}}`,
			204, "  webhook 00000000-0000-0000-0000-000000000000:5: DEPOSIT 1000 PROCESSED; DEPOSIT 1000 PROCESSED; DEPOSIT 1000 PROCESSED; and 2 more; the wallet holds 5000 USD\n",
		},
		"a test":     {"7", `{"type":"legendary-wallet.webhook.test.v1","data":{}}`, 204, "  webhook 7: legendary-wallet.webhook.test.v1\n"},
		"no webhook": {"7", `deposit`, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r, err := Listen("127.0.0.1:0", Print(&out))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			request, err := http.NewRequest(http.MethodPost, r.URL, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("webhook-id", c.id)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != c.status || out.String() != c.printed {
				t.Errorf("it answers %d and prints %q", response.StatusCode, out.String())
			}
		})
	}
}
