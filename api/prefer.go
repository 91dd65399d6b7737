package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/legendary-wallet/legendary-wallet/api/oas"
)

// maxWait is the longest that a client may have an answer wait for the outcome.
const maxWait = 30 * time.Second

// preferredWait is the wait that a Prefer header (RFC 7240) asks for, if any. Of several the first
// counts; nonsense is ignored.
func preferredWait(prefer string) (wait time.Duration, asked bool) {
	for preference := range strings.SplitSeq(prefer, ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
		return min(time.Duration(seconds)*time.Second, maxWait), err == nil
	}
	return 0, false
}

// appliedWait is what Preference-Applied says of a wait that was granted.
func appliedWait(wait time.Duration) oas.OptString {
	return oas.NewOptString("wait=" + strconv.Itoa(int(wait/time.Second)))
}
