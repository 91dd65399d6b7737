package stack

import (
	"strings"
	"testing"
)

func TestMistakesInSettingsAreReportedAtOnce(t *testing.T) {
	env := map[string]string{"KAFKA": "rabbit", "API": "0", "WORKER": "many"}
	_, err := ParseConfig(func(name string) string { return env[name] })
	if err == nil {
		t.Fatal("no error")
	}
	for name := range env {
		if !strings.Contains(err.Error(), name+"=") {
			t.Errorf("%s is not named in %q", name, err)
		}
	}
}

func TestThreeBrokersAreApacheKafkasAndStartedHere(t *testing.T) {
	for _, c := range []struct {
		env   map[string]string
		wrong bool
	}{
		{map[string]string{}, false},
		{map[string]string{"BROKERS": "1"}, false},
		{map[string]string{"BROKERS": "3", "KAFKA": "apache"}, false},
		{map[string]string{"BROKERS": "3", "KAFKA": "apache", "SECURE": "on"}, false},
		{map[string]string{"BROKERS": "2", "KAFKA": "apache"}, true},
		{map[string]string{"BROKERS": "some", "KAFKA": "apache"}, true},
		{map[string]string{"BROKERS": "3"}, true}, // kfake is one
		{map[string]string{"BROKERS": "3", "KAFKA": "apache", "KAFKA_BROKERS": "127.0.0.1:9092"}, true},
	} {
		_, err := ParseConfig(func(name string) string { return c.env[name] })
		if c.wrong != (err != nil) || err != nil && !strings.Contains(err.Error(), "BROKERS=") {
			t.Errorf("%v: %v", c.env, err)
		}
	}
}

func TestSeveralServersOfRedisAreStartedHere(t *testing.T) {
	for _, c := range []struct {
		env   map[string]string
		wrong bool
	}{
		{map[string]string{"REDIS": "sentinel"}, false},
		{map[string]string{"REDIS": "cluster"}, false},
		{map[string]string{"REDIS": "many"}, true},
		{map[string]string{"REDIS": "cluster", "REDIS_URL": "redis://127.0.0.1:6379"}, true},
		{map[string]string{"REDIS": "sentinel", "SECURE": "on", "KAFKA": "apache"}, true},
	} {
		_, err := ParseConfig(func(name string) string { return c.env[name] })
		if c.wrong != (err != nil) || err != nil && !strings.Contains(err.Error(), "REDIS=") {
			t.Errorf("%v: %v", c.env, err)
		}
	}
}
