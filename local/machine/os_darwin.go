package machine

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// ProcessUsage returns nothing for a process that has ended. The memory is what it has now: ps does
// not know the most that it had.
func ProcessUsage(pid int) Usage {
	text, err := exec.Command("ps", "-o", "time=,rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return Usage{}
	}
	return parsePS(string(text))
}

// MeasureBusy returns how much of the machine something else takes. The first of top's two samples is
// since the machine's start.
func MeasureBusy(during time.Duration) (percent float64, err error) {
	seconds := max(1, int(during.Seconds()))
	text, err := exec.Command("top", "-l", "2", "-n", "0", "-s", strconv.Itoa(seconds)).Output()
	if err != nil {
		return 0, fmt.Errorf("top: %w", err)
	}
	return parseTop(string(text))
}

// fdatasync is more on macOS: Sync asks the drive to write its cache out (F_FULLFSYNC), which
// Postgres does there with wal_sync_method=fsync_writethrough only.
func fdatasync(file *os.File) error { return file.Sync() }

func Niceness() int {
	nice, _ := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	return nice
}
