package db

import (
	"time"

	"golang.org/x/sys/unix"
)

// The socket option that limits how long what was sent may stay unacknowledged, and its value in ms.
const (
	silenceOption = unix.TCP_USER_TIMEOUT
	silenceValue  = int(silence / time.Millisecond)
)
