package main

import "syscall"

// endsWithTest is empty: macOS has no parent-death signal. The tests' clean-up kills their children.
var endsWithTest *syscall.SysProcAttr
