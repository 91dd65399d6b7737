package testkit

import "syscall"

// EndsWithTest has a child killed when the test's process ends, however it ends.
var EndsWithTest = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
