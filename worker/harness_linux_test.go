package main

import "syscall"

// endsWithTest has a child killed when the test's process ends, however it ends.
var endsWithTest = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
