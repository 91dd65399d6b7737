package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/service"
)

func TestAllMistakesOfTheSettingsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	code := program.Start(t.Context(), []string{
		"DATABASE_URL=postgres://:x:y", "LOG_LEVEL=loud", "POLL_INTERVAL=20", "WAVE_TIMEOUT=1ms", "OUTBOX_RETENTION=1s",
		"RDKAFKA_ACKS=1", "RDKAFKA_ENABLE_IDEMPOTENCE=false", "ADMIN_ADDR=9081",
	}, &stderr)
	if code != 2 {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"DATABASE_URL", "KAFKA_BROKERS", "LOG_LEVEL", "POLL_INTERVAL", "WAVE_TIMEOUT", "OUTBOX_RETENTION", "RDKAFKA_ACKS", "RDKAFKA_ENABLE_IDEMPOTENCE", "ADMIN_ADDR"} {
		if !strings.Contains(stderr.String(), name+": ") {
			t.Errorf("%s is not named in:\n%s", name, &stderr)
		}
	}
}

func TestThePublishTimeoutHasItsOldNameForARelease(t *testing.T) {
	t.Parallel()
	base := []string{"DATABASE_URL=postgres://relay@localhost/wallet", "KAFKA_BROKERS=localhost:9092"}
	for _, test := range []struct {
		name    string
		environ []string
		want    time.Duration
	}{
		{"neither", nil, 15 * time.Second},
		{"the old name", []string{"WAVE_TIMEOUT=3s"}, 3 * time.Second},
		{"the new name", []string{"PUBLISH_TIMEOUT=4s"}, 4 * time.Second},
		{"both", []string{"WAVE_TIMEOUT=3s", "PUBLISH_TIMEOUT=4s"}, 4 * time.Second},
	} {
		if c, err := configOf(append(base, test.environ...)); err != nil || c.publishTimeout != test.want {
			t.Errorf("%s: %v, want %v (%v)", test.name, c.publishTimeout, test.want, err)
		}
	}
}

func configOf(environ []string) (config, error) {
	env := service.NewEnv(environ)
	return parseConfig(env), env.Err()
}

func TestRdkafkaSettingsReachTheProducer(t *testing.T) {
	t.Parallel()
	base := []string{"DATABASE_URL=postgres://relay@localhost/wallet", "KAFKA_BROKERS=localhost:9092"}
	c, err := configOf(append(base, "RDKAFKA_SASL_USERNAME=relay", "RDKAFKA_LINGER_MS=2"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"sasl.username": "relay", "linger.ms": "2", "acks": "all"} {
		if got := (*c.kafka)[name]; got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if _, err := configOf(append(base, "RDKAFKA_NO_SUCH_THING=1")); err == nil || !strings.Contains(err.Error(), "RDKAFKA_*: ") || !strings.Contains(err.Error(), "no.such.thing") {
		t.Errorf("an unknown property: %v", err)
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	t.Parallel()
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c, err := configOf([]string{
		"DATABASE_URL_FILE=" + file("postgres://relay:s3cret@db/wallet\n"), "KAFKA_BROKERS=kafka:9092", "RDKAFKA_SASL_PASSWORD_FILE=" + file("s3cret\n"),
	})
	if err != nil || c.postgres.ConnConfig.Password != "s3cret" || (*c.kafka)["sasl.password"] != "s3cret" {
		t.Errorf("%v %+v", err, c)
	}
}
