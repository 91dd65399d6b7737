package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/legendary-wallet/legendary-wallet/service"
)

func TestEveryMistakeInTheConfigurationIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	wrong := map[string]string{
		"DATABASE_URL":         "postgres://host:port/x",
		"REDIS_URL":            "http://redis",
		"HTTP_ADDR":            "8080",
		"ADMIN_ADDR":           ":99999",
		"LOG_LEVEL":            "loud",
		"DEFAULT_CURRENCY":     "euro",
		"FLUSH_MAX":            "0",
		"FLUSH_INTERVAL":       "5",
		"QUEUE_MAX_OPERATIONS": "many",
		"QUEUE_MAX_BYTES":      "1",
		"REQUEST_TIMEOUT":      "-1s",
		"AUTH":                 "yes",
		"CONSOLE":              "yes",
		"RATE_LIMIT":           "-1",
	}
	var stderr bytes.Buffer
	code := program.Start(t.Context(), environ(wrong), &stderr)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	for name := range wrong {
		if !strings.Contains(stderr.String(), name+": ") {
			t.Errorf("%s is not named in:\n%s", name, stderr.String())
		}
	}
	if lines := strings.Count(stderr.String(), "\n"); lines != len(wrong) {
		t.Errorf("%d lines for %d mistakes:\n%s", lines, len(wrong), stderr.String())
	}
}

func environ(settings map[string]string) (pairs []string) {
	for name, value := range settings {
		pairs = append(pairs, name+"="+value)
	}
	return pairs
}

func configOf(settings map[string]string) (config, error) {
	env := service.NewEnv(environ(settings))
	return parseConfig(env), env.Err()
}

func TestNothingButAddressesIsRequired(t *testing.T) {
	t.Parallel()
	_, err := configOf(nil)
	if err == nil || err.Error() != "DATABASE_URL: is required\nREDIS_URL: is required" {
		t.Errorf("an empty environment: %v", err)
	}
	c, err := configOf(map[string]string{"DATABASE_URL": "postgres://localhost/w", "REDIS_URL": "redis://localhost:6379/0"})
	if err != nil || c.httpAddr != ":8080" || c.limits.operations != 10_000 || c.flushInterval != 5*time.Millisecond || c.currency != "USD" || !c.auth || !c.console {
		t.Errorf("defaults: %+v, %v", c, err)
	}
}
