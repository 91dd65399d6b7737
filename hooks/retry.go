package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// retries say when a delivery that failed is tried again.
type retries struct {
	delays []time.Duration // after the first failure, after the second, and so on; the last one repeats
	giveUp time.Duration   // an endpoint that has failed for so long is disabled
	jitter func() float64  // from 0 to 1
}

// spread is how far a delay may be from the schedule, in parts of it: endpoints that failed together do not
// come back together.
const spread = 0.2

const (
	// retryAfterLeast and retryAfterMost bound what a receiver asks for by Retry-After.
	retryAfterLeast = time.Second
	retryAfterMost  = time.Hour
)

// after returns the delay after so many failures, of which the last asked for a delay of its own if it is not 0.
func (r *retries) after(failures int, asked time.Duration) time.Duration {
	if asked > 0 {
		return min(max(asked, retryAfterLeast), retryAfterMost)
	}
	delay := r.delays[min(max(failures, 1), len(r.delays))-1]
	return time.Duration(float64(delay) * (1 - spread + 2*spread*r.jitter()))
}

// verdict is what an attempt says about the receiver.
type verdict int

const (
	delivered   verdict = iota
	unreachable         // it says nothing of what was sent: no other delivery would have arrived either
	refused             // the receiver has read it and does not take it
	gone                // the receiver wants no more
	unready             // nothing was sent, for a reason that is ours, such as a missing key
)

// result is what came of an attempt.
type result struct {
	verdict    verdict
	client     bool // the receiver says that the fault is in what was sent
	status     int  // 0: there was no answer
	retryAfter time.Duration
	err        string // for the owner of the endpoint
	took       time.Duration
}

// judge says what an answer means. Only 2xx is success; redirects are not followed.
func judge(status int, header http.Header, now time.Time) result {
	r := result{status: status, verdict: refused, err: fmt.Sprintf("the answer was %d %s", status, http.StatusText(status))}
	switch {
	case status >= 200 && status < 300:
		return result{status: status, verdict: delivered}
	case status == http.StatusGone:
		r.verdict = gone
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		r.verdict, r.retryAfter = unreachable, retryAfter(header.Get("Retry-After"), now)
	case status >= 300 && status < 400:
		r.verdict, r.err = unreachable, r.err+", and redirects are not followed"
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		r.verdict = unreachable
	case status >= 400 && status < 500:
		r.client = true
	}
	r.err = strings.TrimSpace(r.err)
	return r
}

// retryAfter reads seconds or a date; 0 if it is neither.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		return max(time.Duration(seconds)*time.Second, retryAfterLeast)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), retryAfterLeast)
	}
	return 0
}

// maxErrorText is how much of an error's text is kept.
const maxErrorText = 200

// printable returns the beginning of a text without what cannot be printed.
func printable(text string) string {
	kept := make([]rune, 0, maxErrorText)
	for _, r := range text {
		if len(kept) == maxErrorText {
			break
		}
		if unicode.IsPrint(r) {
			kept = append(kept, r)
		}
	}
	return string(kept)
}
