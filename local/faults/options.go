package faults

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"
)

// options are the flags of faults.
type options struct {
	seed      uint64
	duration  time.Duration
	away      time.Duration
	times     int
	only      *regexp.Regexp
	report    string
	drill     bool
	alone     bool
	mutations bool
}

// drillFaults take each part away once, or stop what others wait for.
const drillFaults = `^kill -9 of (an api|the leading relay|a worker|kafka|redis|postgres)$|^SIGSTOP of (an api|the leading relay|a worker),`

func parseOptions(args []string) (o options, err error) {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.Uint64Var(&o.seed, "seed", rand.Uint64(), "the faults, their order and their moments")
	flags.DurationVar(&o.duration, "duration", 10*time.Minute, "throw no new fault after this `time`")
	flags.DurationVar(&o.away, "away", time.Minute, "how `long` a standby is missing for long")
	flags.IntVar(&o.times, "times", 0, "end when each fault was thrown so many `times`, if that is earlier")
	only := flags.String("only", "", "throw only the faults, or remove only the rules, whose names match this `regexp`")
	flags.StringVar(&o.report, "report", "", "keep the report in this `folder`")
	flags.BoolVar(&o.drill, "drill", false, "take each process away three times, to measure how long it is missed")
	flags.BoolVar(&o.alone, "alone", false, "throw each fault in a round of its own, so that what receivers of webhooks got is due to it")
	flags.BoolVar(&o.mutations, "mutations", false, "see that the campaign finds what is wrong with programs that have lost one of their rules")
	if err = flags.Parse(args); err != nil {
		return o, err
	}
	if o.drill {
		o.times, *only = 3, drillFaults
	}
	o.only, err = regexp.Compile(*only)
	return o, err
}

// rest is what make has no variable for.
func (o options) rest() string {
	var rest []string
	if o.times > 0 {
		rest = append(rest, fmt.Sprintf("-times %d", o.times))
	}
	if o.alone {
		rest = append(rest, "-alone")
	}
	if text := o.only.String(); text != "" {
		rest = append(rest, fmt.Sprintf("-only %q", text))
	}
	return strings.Join(rest, " ")
}
