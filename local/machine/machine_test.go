package machine

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func TestWhatPsAndTopSayOnMacOSIsRead(t *testing.T) {
	for text, want := range map[string]Usage{
		"   0:01.25  10240\n": {1250 * time.Millisecond, 10},
		" 61:00.50 2097152\n": {61*time.Minute + 500*time.Millisecond, 2048},
		"":                    {},
	} {
		if got := parsePS(text); got != want {
			t.Errorf("%q is %v, want %v", text, got, want)
		}
	}
	const sample = "Processes: 412 total\nLoad Avg: 1.9, 2.0, 2.1\nCPU usage: %s idle\nSharedLibs: 700M resident\n"
	text := fmt.Sprintf(sample+sample, "50.0% user, 25.0% sys, 25.0%", "3.5% user, 5.25% sys, 91.25%")
	if busy, err := parseTop(text); err != nil || busy != 8.75 {
		t.Errorf("%g %% busy, %v; want the second sample's 8.75", busy, err)
	}
	if _, err := parseTop("top: illegal option\n"); err == nil {
		t.Error("what is not a sample is read")
	}
}

func TestUsageGrowsWithTheWorkThatAProcessDoes(t *testing.T) {
	before := ProcessUsage(os.Getpid())
	const work = 200 * time.Millisecond
	for began := time.Now(); ProcessUsage(os.Getpid()).CPU-before.CPU < work; {
		if time.Since(began) > 20*time.Second {
			t.Fatal("20 s of work are not seen")
		}
	}
	if after := ProcessUsage(os.Getpid()); after.RSSMiB < 1 {
		t.Errorf("this process is said to have %.1f MiB", after.RSSMiB)
	}
	if ended := ProcessUsage(1 << 30); ended != (Usage{}) {
		t.Errorf("a process that does not exist used %v", ended)
	}
}
