package main

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// synopsis is how the command is called.
func (cmd command) synopsis() string { return strings.TrimSpace(cmd.words + " " + cmd.usage) }

// variables lists the settings that the command reads.
func (cmd command) variables() (names []string) {
	for _, need := range []struct {
		on    needs
		names string
	}{{onPostgres, "DATABASE_URL"}, {onKafka, "KAFKA_BROKERS RDKAFKA_*"}, {onRedis | onRedisIfSet, "REDIS_URL"}} {
		if cmd.needs&need.on != 0 {
			names = append(names, strings.Fields(need.names)...)
		}
	}
	return append(names, strings.Fields(cmd.reads)...)
}

// help prints how a command is called, its flags, and the settings that it reads.
func (c *call) help(declared []setting) {
	fmt.Fprintf(c.stdout, "usage: ctl %s\n\n%s\n", c.synopsis(), c.does)
	var flags []setting
	c.flags.VisitAll(func(f *flag.Flag) {
		value, means := flag.UnquoteUsage(f)
		otherwise := f.DefValue
		if otherwise == "0" || otherwise == "false" {
			otherwise = ""
		}
		flags = append(flags, setting{strings.TrimSpace("--" + f.Name + " " + strings.ToUpper(value)), otherwise, means})
	})
	explain(c.stdout, "flags", flags)
	read := c.variables()
	explain(c.stdout, "settings, from the environment", slices.DeleteFunc(slices.Clone(declared), func(s setting) bool { return !slices.Contains(read, s.name) }))
	fmt.Fprint(c.stdout, "\nexit code: 0 done, 1 not done or not well, 2 called wrongly\n")
}

// explain prints flags or settings, if there are any, each with what it means and its default.
func explain(out io.Writer, title string, lines []setting) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s:\n", title)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		fmt.Fprintf(table, "  %s\t%s", l.name, l.means)
		if l.otherwise != "" {
			fmt.Fprintf(table, " (default %s)", l.otherwise)
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush() // to a terminal
}

// overview answers what is no command: --help, help, nothing, the first word of some commands, or a mistake.
func overview(args []string, declared []setting, stdout, stderr io.Writer) int {
	asked := slices.ContainsFunc(args, func(arg string) bool { return arg == "--help" || arg == "-h" || arg == "help" })
	words := strings.Join(slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return strings.HasPrefix(arg, "-") || arg == "help" }), " ")
	shown := slices.DeleteFunc(slices.Clone(commands), func(cmd command) bool { return !strings.HasPrefix(cmd.words+" ", words+" ") })
	out, code := stderr, 2
	if asked && (words == "" || len(shown) > 0) {
		out, code = stdout, 0
	} else if words != "" && len(shown) == 0 {
		fmt.Fprintf(stderr, "ctl: there is no command %q\n", words)
	}
	if words == "" || len(shown) == 0 {
		shown = commands
	}
	fmt.Fprintln(out, "usage: ctl COMMAND; ctl COMMAND --help says more, ctl --version which release it is")
	var lines []setting
	for _, cmd := range shown {
		lines = append(lines, setting{cmd.synopsis(), "", cmd.does})
	}
	explain(out, "commands; those with --reason ask before they act, unless there is --yes", lines)
	if len(shown) == len(commands) {
		explain(out, "settings, from the environment", declared)
	}
	return code
}
