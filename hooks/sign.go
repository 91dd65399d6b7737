package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func unixSeconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// sign returns the header webhook-signature: one signature for each secret.
func sign(secrets []string, id string, at time.Time, payload []byte) (string, error) {
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return "", fmt.Errorf("secret %d of the endpoint is not base64", i+1) // and not the secret itself
		}
		if signatures[i], err = w.Sign(id, at, payload); err != nil {
			return "", err
		}
	}
	return strings.Join(signatures, " "), nil
}
