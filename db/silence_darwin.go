package db

import (
	"time"

	"golang.org/x/sys/unix"
)

// macOS has no TCP_USER_TIMEOUT. Its TCP_RXT_CONNDROPTIME, in seconds, drops a connection that has
// been retransmitting for so long (xnu, bsd/netinet/tcp.h).
const (
	silenceOption = unix.TCP_RXT_CONNDROPTIME
	silenceValue  = int(silence / time.Second)
)
