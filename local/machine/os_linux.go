package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/legendary-wallet/legendary-wallet/local/proc"
)

// ticksPerSecond is the unit of CPU times in /proc, the same on every Linux.
const ticksPerSecond = 100

// ProcessUsage returns nothing for a process that has ended.
func ProcessUsage(pid int) Usage {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	fields := proc.StatFields(filepath.Join(folder, "stat"))
	if len(fields) < 13 {
		return Usage{}
	}
	// utime and stime are the 14th and 15th of all.
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	u := Usage{CPU: time.Duration(user+system) * time.Second / ticksPerSecond}
	status, _ := os.ReadFile(filepath.Join(folder, "status"))
	if _, after, found := strings.Cut(string(status), "VmHWM:"); found {
		kib, _ := strconv.ParseFloat(strings.Fields(after)[0], 64)
		u.RSSMiB = kib / 1024
	}
	return u
}

// MeasureBusy returns how much of the machine something else takes.
func MeasureBusy(during time.Duration) (percent float64, err error) {
	read := func() (busy, total int64, err error) {
		text, err := os.ReadFile("/proc/stat")
		if err != nil {
			return 0, 0, err
		}
		var user, nice, system, idle, wait, irq, softirq, steal int64
		if _, err := fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &softirq, &steal); err != nil {
			return 0, 0, err
		}
		busy = user + nice + system + irq + softirq + steal
		return busy, busy + idle + wait, nil
	}
	busy, total, err := read()
	if err != nil {
		return 0, err
	}
	time.Sleep(during)
	busyAfter, totalAfter, err := read()
	return 100 * float64(busyAfter-busy) / float64(max(1, totalAfter-total)), err
}

func fdatasync(file *os.File) error { return syscall.Fdatasync(int(file.Fd())) }

// Niceness is this process's. The kernel's answer is 20 - nice.
func Niceness() int {
	priority, _ := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	return 20 - priority
}
