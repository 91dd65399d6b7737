package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMistakesInSettingsAreReportedAtOnce(t *testing.T) {
	env := map[string]string{"KAFKA": "rabbit", "API": "0", "WORKER": "many"}
	_, err := parseConfig(func(name string) string { return env[name] })
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
		_, err := parseConfig(func(name string) string { return c.env[name] })
		if c.wrong != (err != nil) || err != nil && !strings.Contains(err.Error(), "BROKERS=") {
			t.Errorf("%v: %v", c.env, err)
		}
	}
}

func TestKeptStateHasOneHolder(t *testing.T) {
	dir := t.TempDir()
	held, err := keptState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keptState(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second holder got %v", err)
	}
	held.close()
	again, err := keptState(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.close()
}

func TestTemporaryStateOfAKilledProcessIsRemovedByTheNext(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	orphan, err := temporaryState()
	if err != nil {
		t.Fatal(err)
	}
	living, err := temporaryState()
	if err != nil {
		t.Fatal(err)
	}
	defer living.close()
	_ = orphan.lock.Close() // as when its process is killed
	next, err := temporaryState()
	if err != nil {
		t.Fatal(err)
	}
	next.close()
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	if len(left) != 1 || left[0] != living.dir {
		t.Errorf("left are %v, living is %s", left, living.dir)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 100 {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was given twice", port)
		}
		seen[port] = true
	}
}
