package proc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeptStateHasOneHolder(t *testing.T) {
	dir := t.TempDir()
	held, err := KeptState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := KeptState(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second holder got %v", err)
	}
	held.Close()
	again, err := KeptState(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestTemporaryStateOfAKilledProcessIsRemovedByTheNext(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	orphan, err := TemporaryState()
	if err != nil {
		t.Fatal(err)
	}
	living, err := TemporaryState()
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	_ = orphan.lock.Close() // as when its process is killed
	next, err := TemporaryState()
	if err != nil {
		t.Fatal(err)
	}
	next.Close()
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	if len(left) != 1 || left[0] != living.Dir {
		t.Errorf("left are %v, living is %s", left, living.Dir)
	}
}
