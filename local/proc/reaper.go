package proc

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
)

// The reaper is a child that ends the other children when local is gone, however it ended: its
// standard input, on which it hears of their process groups, ends with local. Only macOS needs it; on
// Linux the kernel does that (endWithParent).
type reaper struct {
	once  sync.Once
	input io.WriteCloser
	err   error
}

var orphans reaper

// add has the reaper end a process group with local, forget lets it go on: the group has ended, and
// another may get its number.
func (r *reaper) add(group int) error { return r.say("+", group) }
func (r *reaper) forget(group int)    { _ = r.say("-", group) }

func (r *reaper) say(what string, group int) error {
	if !needsReaper {
		return nil
	}
	r.once.Do(r.start)
	if r.err != nil {
		return r.err
	}
	_, err := fmt.Fprintf(r.input, "%s%d\n", what, group)
	return err
}

// start starts the reaper in a process group of its own, so that it survives a Ctrl-C.
func (r *reaper) start() {
	cmd := exec.Command(Self(), "reaper")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if r.input, r.err = cmd.StdinPipe(); r.err == nil {
		r.err = cmd.Start()
	}
}

// serveReaper hears of process groups until its input ends, and then kills those that are left.
func serveReaper(input io.Reader) error {
	groups := map[int]bool{}
	for lines := bufio.NewScanner(input); lines.Scan(); {
		var what rune
		var group int
		if _, err := fmt.Sscanf(lines.Text(), "%c%d", &what, &group); err != nil || group <= 1 || what != '+' && what != '-' {
			return fmt.Errorf("reaper: %q is not a process group", lines.Text())
		}
		groups[group] = what == '+'
	}
	for group, left := range groups {
		if left {
			_ = syscall.Kill(-group, syscall.SIGKILL)
		}
	}
	return nil
}
