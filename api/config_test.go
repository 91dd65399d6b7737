package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
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
		"RATE_LIMIT":           "-1",
	}
	var stderr bytes.Buffer
	code := run(t.Context(), func(name string) string { return wrong[name] }, &stderr)
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

func TestNothingButAddressesIsRequired(t *testing.T) {
	t.Parallel()
	_, err := parseConfig(func(string) string { return "" })
	if err == nil || err.Error() != "DATABASE_URL: is required\nREDIS_URL: is required" {
		t.Errorf("an empty environment: %v", err)
	}
	c, err := parseConfig(func(name string) string {
		return map[string]string{"DATABASE_URL": "postgres://localhost/w", "REDIS_URL": "redis://localhost:6379/0"}[name]
	})
	if err != nil || c.httpAddr != ":8080" || c.limits.operations != 10_000 || c.flushInterval != 5*time.Millisecond || c.currency != "USD" || !c.auth {
		t.Errorf("defaults: %+v, %v", c, err)
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := map[string]string{}
	for name, text := range map[string]string{"DATABASE_URL": "postgres://api:s3cret@db/wallet\n", "REDIS_URL": "redis://:s3cret@redis/1\n"} {
		env[name+"_FILE"] = filepath.Join(dir, name)
		if err := os.WriteFile(env[name+"_FILE"], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := parseConfig(func(name string) string { return env[name] })
	if err != nil || c.database.ConnConfig.Password != "s3cret" || c.redis.(*redis.Client).Options().Password != "s3cret" {
		t.Errorf("%v %+v", err, c)
	}
	env["REDIS_URL"], env["DATABASE_URL_FILE"] = "redis://redis", "/nowhere"
	if _, err := parseConfig(func(name string) string { return env[name] }); err == nil ||
		!strings.Contains(err.Error(), "REDIS_URL_FILE: is set, and REDIS_URL too") || !strings.Contains(err.Error(), "DATABASE_URL_FILE: open /nowhere") {
		t.Errorf("mistakes: %v", err)
	}
}
