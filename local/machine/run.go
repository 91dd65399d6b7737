package machine

import (
	"bytes"
	"fmt"
	"os/exec"
	"time"
)

// RunMeasured runs a command and returns the most memory that it had, in MiB. What the kernel says of it once it has ended
// is not less than what this process had when it began.
func RunMeasured(cmd *exec.Cmd) (mebibytes float64, err error) {
	var written bytes.Buffer
	cmd.Stdout, cmd.Stderr = &written, &written
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for look := time.Tick(100 * time.Millisecond); ; {
		select {
		case <-look:
			mebibytes = max(mebibytes, ProcessUsage(cmd.Process.Pid).RSSMiB)
		case err := <-ended:
			if err != nil {
				return mebibytes, fmt.Errorf("%w\n%s", err, written.Bytes())
			}
			return mebibytes, nil
		}
	}
}
