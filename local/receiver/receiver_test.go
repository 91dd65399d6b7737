package receiver

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

func TestAWebhookIsPrintedAndAcknowledged(t *testing.T) {
	t.Parallel()
	const operation = `{"operationType":"DEPOSIT","amount":1000,"status":"PROCESSED"}`
	for name, c := range map[string]struct {
		body    string
		status  int
		printed string
	}{
		"a run": {
			`{"type":"legendary-wallet.wallet.advanced.v1","data":{"currency":"USD","balance":1000,"operations":[` + operation + `]}}`,
			200, "  webhook 7: DEPOSIT 1000 PROCESSED; the wallet holds 1000 USD\n",
		},
		"a long run": {
			`{"data":{"currency":"USD","balance":5000,"operations":[` + strings.Repeat(operation+",", 4) + operation + `]}}`,
			200, "  webhook 7: DEPOSIT 1000 PROCESSED; DEPOSIT 1000 PROCESSED; DEPOSIT 1000 PROCESSED; and 2 more; the wallet holds 5000 USD\n",
		},
		"a test":     {`{"type":"legendary-wallet.webhook.test.v1","data":{}}`, 200, "  webhook 7: legendary-wallet.webhook.test.v1\n"},
		"no webhook": {`deposit`, 400, ""},
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
			request.Header.Set("webhook-id", "7")
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
