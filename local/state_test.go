package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
