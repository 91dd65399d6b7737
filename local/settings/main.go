// Settings writes config.env: its beginning by hand, up to the first heading of a service, and all the rest
// from what the programs say of their settings. `make generate` runs it.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/legendary-wallet/legendary-wallet/service"
)

const (
	path    = "config.env"
	heading = "## api relay worker hooks" // the first that is written here
)

var programs = []string{"api", "relay", "worker", "hooks", "ctl"}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	byHand, _, found := bytes.Cut(file, []byte(heading))
	if !found {
		return fmt.Errorf("%s has no line %q", path, heading)
	}
	declared := map[string][]service.Setting{}
	for _, program := range programs {
		text, err := exec.Command("go", "run", "./"+program, "--settings").Output()
		if err != nil {
			return fmt.Errorf("%s --settings: %w", program, err)
		}
		var settings []service.Setting
		if err := json.Unmarshal(text, &settings); err != nil {
			return fmt.Errorf("%s --settings: %w", program, err)
		}
		declared[program] = settings
	}
	return os.WriteFile(path, append(byHand, sections(declared)...), 0o644)
}

// section is what some programs read, all of them with the same default and meaning.
type section struct {
	programs string
	settings []service.Setting
}

// sections begins with what most programs read.
func sections(declared map[string][]service.Setting) []byte {
	var all []*section
	done := map[service.Setting]bool{}
	for _, program := range programs {
		for _, setting := range declared[program] {
			if done[setting] {
				continue
			}
			done[setting] = true
			readers := []string{}
			for _, other := range programs {
				if slices.Contains(declared[other], setting) {
					readers = append(readers, other)
				}
			}
			names := strings.Join(readers, " ")
			i := slices.IndexFunc(all, func(s *section) bool { return s.programs == names })
			if i < 0 {
				i, all = len(all), append(all, &section{programs: names})
			}
			all[i].settings = append(all[i].settings, setting)
		}
	}
	slices.SortStableFunc(all, func(a, b *section) int { return strings.Count(b.programs, " ") - strings.Count(a.programs, " ") })
	var out bytes.Buffer
	for i, s := range all {
		if i > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "## %s\n", s.programs)
		for _, setting := range s.settings {
			out.WriteString("\n")
			write(&out, setting)
		}
	}
	return out.Bytes()
}

func write(out *bytes.Buffer, s service.Setting) {
	lines := slices.Collect(strings.Lines(s.Meaning))
	if s.Required {
		lines[0] = "Required. " + lines[0]
	}
	for _, line := range lines {
		fmt.Fprintf(out, "# %s\n", strings.TrimSpace(line))
	}
	if s.Form != "" {
		fmt.Fprintf(out, "# It is %s.\n", s.Form)
	}
	if strings.HasSuffix(s.Name, "*") {
		return // an example stands in the meaning
	}
	fmt.Fprintf(out, "#%s=%s%s\n", s.Name, s.Default, s.Example)
}
