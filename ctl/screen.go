package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/legendary-wallet/legendary-wallet/db/status"
)

// A screen is a terminal of so many columns; 0: it is none.
type screen struct {
	columns int
	colours bool
}

// terminal says what the output is. Its user may have declined colours (no-color.org).
func (c *call) terminal() screen {
	file, ok := c.stdout.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return screen{}
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil || columns < 40 {
		columns = 80
	}
	return screen{columns, c.noColour == ""}
}

// paint colours a text, on a terminal.
type paint func(colour, text string) string

func newPaint(colours bool) paint {
	return func(colour, text string) string {
		if !colours {
			return text
		}
		return "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
}

const (
	bold   = "1"
	green  = "32"
	yellow = "33"
	red    = "31"
	dim    = "2"
)

// print writes the screen at once. Of a watch it clears the last one.
func (r *statusReport) print(out io.Writer, on screen, watch bool) error {
	var text strings.Builder
	paint := newPaint(on.colours)
	if watch && on.columns > 0 {
		text.WriteString("\x1b[H\x1b[2J")
	}
	verdict := paint(bold+";"+green, "HEALTHY")
	if !r.Healthy {
		verdict = paint(bold+";"+red, "LOOK HERE")
	}
	fmt.Fprintf(&text, "%s  %s\n", verdict, paint(dim, r.At.UTC().Format("2006-01-02 15:04:05 UTC")))
	for _, p := range r.Problems {
		end := max(strings.LastIndex(p, arrow), 0) // an operator's reason may have one too
		what, do := p[:end], strings.TrimPrefix(p[end:], arrow)
		fmt.Fprintf(&text, "  %s %s\n", paint(red, "●"), wrapped(what, on.columns, "    "))
		fmt.Fprintf(&text, "    %s %s\n", paint(green, "→"), wrapped(do, on.columns, "      "))
	}
	text.WriteByte('\n')
	for _, l := range r.lines(paint) {
		value := l.value
		if l == (screenLine{}) {
			text.WriteByte('\n')
			continue
		}
		if why := r.why(l.section); why != "" && l.name == "" {
			continue
		} else if why == status.Locked || why == isPending {
			value = paint(yellow, "not known: "+why)
		} else if why != "" {
			value = paint(yellow, "not known, see above")
		}
		fmt.Fprintf(&text, "%s %s\n", paint(dim, fmt.Sprintf("%-11s", l.name)), value)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// wrapped breaks a text into lines of a terminal, which begin with an indent.
func wrapped(text string, columns int, indent string) string {
	if columns == 0 {
		return text
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len([]rune(line+" "+word)) > columns-len(indent) {
			lines, line = append(lines, line), word
		} else {
			line = strings.TrimSpace(line + " " + word)
		}
	}
	return strings.Join(append(lines, line), "\n"+indent)
}

// A screenLine is what one line says, unless its section is not known.
type screenLine struct{ section, name, value string }

// lines are those below the problems. A value that is not known is nil here.
func (r *statusReport) lines(paint paint) (lines []screenLine) {
	line := func(section, name, format string, args ...any) {
		lines = append(lines, screenLine{section, name, fmt.Sprintf(format, args...)})
	}
	rate := func(n *int64) string { return paint(bold, count(known(n))) + "/s" }
	line("wallets", "wallets", "%s", total(known(r.Wallets), r.WalletsEstimated))
	line("operations", "accepted", "%s operations", total(known(r.Accepted), r.AcceptedEstimated))
	line("outbox", "accepting", "%s", rate(r.AcceptedPerSecond))
	line("applied", "applying", "%s", rate(r.AppliedPerSecond))
	line("pending", "pending", "%s", waiting(paint, known(r.Pending), known(r.OldestPending)))
	line("pending", "", "%s", paint(dim, "of the wallets that recent outbox rows name; ctl verify sees all"))
	if len(r.InTransit) == 0 {
		line("transit", "in transit", "%s", paint(green, "nothing"))
	}
	for _, t := range r.InTransit {
		line("transit", "in transit", "%s %s in %s", count(t.Amount), t.Currency, waiting(paint, t.Operations, t.Oldest))
	}
	if late := known(r.LateHolds); late.Holds > 0 || r.why("holds") != "" {
		line("holds", "late holds", "%s", waiting(paint, late.Holds, late.Oldest))
	}
	if len(r.DisabledTenants) > 0 {
		line("", "disabled", "tenants %s", paint(yellow, strings.Join(r.DisabledTenants, ", ")))
	}
	if w := known(r.Webhooks); w.Webhooks > 0 || r.why("webhooks") != "" {
		line("webhooks", "webhooks", "%s", w.line(paint))
	}
	outbox := known(r.Outbox)
	line("outbox", "outbox", "rows %s to %s, the oldest %s old", count(outbox.FirstID), count(outbox.LastID), seconds(outbox.Kept))
	if r.Relays == nil {
		line("relays", "relays", "")
	}
	for _, relay := range r.Relays {
		leader := paint(red, "no leader")
		if relay.Leader != "" {
			leader = "led by " + relay.Leader
		}
		if relay.Paused {
			leader += ", " + paint(yellow, "PAUSED: "+relay.PauseReason)
		}
		line("", "relay", "%s, %s", relay.Relay, leader)
		line("", "", "rows waiting: %s", waiting(paint, relay.Waiting, relay.OldestWaiting))
		line("", "", "position %s, saved %s ago", relay.Position, seconds(relay.Saved))
	}
	if r.Kafka != nil {
		line("", "kafka", "%s", r.Kafka.line(paint))
	}
	if r.Cache != nil {
		colour := green
		if *r.Cache != "ok" {
			colour = red
		}
		line("", "redis", "%s", paint(colour, *r.Cache))
	}
	if s := r.Standbys; s != nil || r.why("standbys") != "" {
		line("standbys", "standbys", "%s", s.line(paint))
	}
	line("processes", "processes", "%d api, %d relay, %d worker, %d hooks", r.Processes["api"], r.Processes["relay"], r.Processes["worker"], r.Processes["hooks"])
	for i, w := range r.Standing {
		if i == 0 {
			line("", "", "")
		}
		what := fmt.Sprintf("its %s pending for %s", w.Next, seconds(w.Age))
		if w.Halted {
			what = fmt.Sprintf("HALTED: operation %d is missing", w.Applied+1)
		}
		line("", "stalled", "%s at %d of %d, %s", w.WalletID, w.Applied, w.Last, paint(red, what))
	}
	return lines
}

// known is a value that is, or else is not printed.
func known[T any](value *T) (v T) {
	if value != nil {
		v = *value
	}
	return v
}

func (s *standbysReport) line(paint paint) string {
	if s == nil {
		return ""
	}
	colour := green
	if len(s.Connected) < s.Needed {
		colour = red
	}
	text := paint(colour, fmt.Sprintf("%d connected, %d needed", len(s.Connected), s.Needed))
	if len(s.Missing) > 0 {
		text += ", missing " + paint(yellow, strings.Join(s.Missing, ", "))
	}
	return text + ", commits waiting: " + waiting(paint, s.Waiting, s.Longest)
}

func total(n int64, estimated bool) string {
	if estimated {
		return "about " + count(n)
	}
	return count(n)
}

func waiting(paint paint, n int64, oldest float64) string {
	if n == 0 {
		return paint(green, "none")
	}
	return count(n) + ", the oldest for " + paint(age(oldest), seconds(oldest))
}

// age is the colour of a time that something waits.
func age(s float64) string {
	switch {
	case s > status.Standing.Seconds():
		return red
	case s > slow.Seconds():
		return yellow
	}
	return green
}

// seconds writes a time as people read it.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < 10*time.Minute:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// count writes a number with a comma at each thousand.
func count(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func (w webhooksReport) line(paint paint) string {
	text := count(w.Webhooks)
	if w.Failing > 0 {
		text += ", " + paint(yellow, count(w.Failing)+" failing")
	}
	if w.Disabled > 0 {
		ids := make([]string, len(w.DisabledIDs))
		for i, id := range w.DisabledIDs {
			ids[i] = id.String()
		}
		text += ", " + paint(yellow, count(w.Disabled)+" disabled: "+strings.Join(ids, ", "))
	}
	text += ", up to " + seconds(w.Lag) + " behind"
	if w.Saved > 0 {
		text += ", saved " + seconds(w.Saved) + " ago"
	}
	return text
}
