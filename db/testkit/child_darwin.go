package testkit

import "syscall"

// EndsWithTest is empty: macOS has no parent-death signal. The tests' clean-up kills their children.
var EndsWithTest *syscall.SysProcAttr
