package bench

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are the flags of bench.
type options struct {
	only             *regexp.Regexp
	byName           bool // only was given
	warmUp, measured time.Duration
	runs             int
	list             bool
	json, folder     string
	compare          bool
	compared         []string // files of results, or folders of programs
	stored           []int
	stalls           time.Duration
	quiet            int
	verified         int64
	rows             int
}

func parseOptions(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "run the scenarios whose names match this `regexp`, which also finds those that run by name alone")
	flags.DurationVar(&o.measured, "time", 6*time.Second, "how long each is measured")
	flags.DurationVar(&o.warmUp, "warm-up", 2*time.Second, "how long each runs before that")
	flags.IntVar(&o.runs, "runs", 1, "how often everything is run; figures are medians")
	flags.BoolVar(&o.list, "list", false, "list the scenarios and how long they take")
	flags.StringVar(&o.json, "json", "", "write the results to this `file` too")
	flags.StringVar(&o.folder, "out", "", "write results.json and report.html to this `folder`")
	flags.BoolVar(&o.compare, "compare", false, "compare two results, -compare OLD.json NEW.json, or measure the programs of two folders in turn, -compare OLD NEW")
	stored := flags.String("stored", "0,1000000,10000000", "how many stored `operations` the scenarios \"stored …\" begin with")
	flags.DurationVar(&o.stalls, "stalls", 10*time.Minute, "how long the scenario \"stalls …\" watches")
	flags.IntVar(&o.quiet, "quiet", 5, "how many `minutes` without an operation the scenario \"quiet\" measures")
	flags.Int64Var(&o.verified, "verified", 1_000_000, "how many `operations` of every type the scenario \"verify\" has applied before ctl verify replays them")
	flags.IntVar(&o.rows, "rows", 1_000_000, "how many operations are drained")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.compared, o.byName = flags.Args(), *only != ""
	if o.compare && o.json+o.folder != "" {
		return o, errors.New("-compare prints, and writes nothing: -json and -out do not go with it")
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	for size := range strings.SplitSeq(*stored, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			return o, fmt.Errorf("-stored: %w", err)
		}
		o.stored = append(o.stored, n)
	}
	return o, nil
}

// scenarios are those that the flags ask for.
func (o options) scenarios() []scenario {
	all := append(scenarios(o.rows, o.stalls), quietScenario(o.quiet), verifyScenario(o.verified))
	for _, n := range o.stored {
		all = append(all, storedScenario(n))
	}
	return slices.DeleteFunc(all, func(sc scenario) bool { return !o.only.MatchString(sc.name) || sc.byName && !o.byName })
}
