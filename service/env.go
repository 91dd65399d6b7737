package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Env reads settings from the environment. Each read declares a setting: its name, its default and what
// it means. Mistakes are collected, so that an operator sees all of them at once. White space around a
// value does not count, and an empty value is no value, but for OrNone.
type Env struct {
	values   map[string]string
	settings []Setting
	mistakes []error
	was      string            // the old name of the setting that is read next
	givenAs  map[string]string // the old names by which settings are given
}

// Setting is what a process says about one of its settings.
type Setting struct {
	Name string `json:"name"`
	// Default is the value that counts when none is set; "" if there is none.
	Default string `json:"default,omitempty"`
	// Example is a value of a setting without a default.
	Example  string `json:"example,omitempty"`
	Was      string `json:"was,omitempty"` // its name in the release before
	Required bool   `json:"required,omitempty"`
	// File is whether the value may stand in a file, which NAME_FILE names.
	File bool `json:"file,omitempty"`
	// Form is what the value has to be, such as "a duration of at least 1s"; "" for any text.
	Form    string `json:"form,omitempty"`
	Meaning string `json:"meaning"`
}

// NewEnv takes pairs as os.Environ returns them.
func NewEnv(environ []string) *Env {
	e := &Env{values: map[string]string{}, givenAs: map[string]string{}}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		e.values[name] = strings.TrimSpace(value)
	}
	return e
}

// Err names every mistake, a line each; nil if there is none.
func (e *Env) Err() error { return errors.Join(e.mistakes...) }

// Declared lists the settings that were read, in that order.
func (e *Env) Declared() []Setting { return e.settings }

// Was says what the setting that is read next was called. The old name counts if the new one is not set.
func (e *Env) Was(old string) *Env {
	e.was = old
	return e
}

// Check notes a mistake in a setting, if err is one.
func (e *Env) Check(name string, err error) {
	if old := e.givenAs[name]; old != "" {
		name = old
	}
	if err != nil {
		e.mistakes = append(e.mistakes, fmt.Errorf("%s: %w", name, err))
	}
}

// String reads any text.
func (e *Env) String(name, otherwise, meaning string) string {
	return e.read(Setting{Name: name, Default: otherwise, Meaning: meaning})
}

// Optional reads any text, "" by default.
func (e *Env) Optional(name, example, meaning string) string {
	return e.read(Setting{Name: name, Example: example, Meaning: meaning})
}

// OrNone reads any text. One that is set and empty is empty, and not the default.
func (e *Env) OrNone(name, otherwise, meaning string) string {
	given, set := e.values[name]
	value := e.read(Setting{Name: name, Default: otherwise, Form: "any text, or empty for none", Meaning: meaning})
	if set && given == "" {
		return ""
	}
	return value
}

// Secret reads what may come from a file, by NAME_FILE.
func (e *Env) Secret(name, example, meaning string) string {
	return e.read(Setting{Name: name, Example: example, File: true, Meaning: meaning})
}

// Required reads what there is no default for.
func (e *Env) Required(name, example, meaning string) string {
	return e.read(Setting{Name: name, Example: example, Required: true, Meaning: meaning})
}

// RequiredSecret reads what there is no default for, and may come from a file, by NAME_FILE.
func (e *Env) RequiredSecret(name, example, meaning string) string {
	return e.read(Setting{Name: name, Example: example, Required: true, File: true, Meaning: meaning})
}

// OneOf reads one of the given values, in small or capital letters. The first is the default.
func (e *Env) OneOf(name string, values []string, meaning string) string {
	value := e.read(Setting{Name: name, Default: values[0], Form: strings.Join(values, " or "), Meaning: meaning})
	for _, possible := range values {
		if strings.EqualFold(possible, value) {
			return possible
		}
	}
	e.Check(name, errors.New("must be "+strings.Join(values, " or ")))
	return ""
}

// Int reads a whole number from least to most; math.MaxInt is no limit.
func (e *Env) Int(name string, otherwise, least, most int, meaning string) int {
	s := Setting{Name: name, Default: strconv.Itoa(otherwise), Form: "a whole number", Meaning: meaning}
	switch {
	case most < math.MaxInt:
		s.Form += fmt.Sprintf(" from %d to %d", least, most)
	case least > 0:
		s.Form += fmt.Sprintf(" of at least %d", least)
	}
	value, err := strconv.Atoi(e.read(s))
	if err != nil || value < least || value > most {
		e.Check(name, s.mistake())
	}
	return value
}

// Fraction reads a number from 0 to 1.
func (e *Env) Fraction(name string, otherwise float64, meaning string) float64 {
	s := Setting{Name: name, Default: strconv.FormatFloat(otherwise, 'g', -1, 64), Form: "a number from 0 to 1", Meaning: meaning}
	value, err := strconv.ParseFloat(e.read(s), 64)
	if err != nil || !(value >= 0 && value <= 1) {
		e.Check(name, s.mistake())
	}
	return value
}

// Duration reads a number with its unit, of at least this length.
func (e *Env) Duration(name string, otherwise, least time.Duration, meaning string) time.Duration {
	s := Setting{Name: name, Default: brief(otherwise), Form: "a duration", Meaning: meaning}
	if least > 0 {
		s.Form += " of at least " + brief(least)
	}
	value, err := time.ParseDuration(e.read(s))
	if err != nil || value < least {
		e.Check(name, s.mistake())
	}
	return value
}

// brief writes 24h, not 24h0m0s.
func brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Addr reads an address to listen on.
func (e *Env) Addr(name, otherwise, meaning string) string {
	s := Setting{Name: name, Default: otherwise, Form: "host:port or :port", Meaning: meaning}
	value := e.read(s)
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		e.Check(name, s.mistake())
	}
	return value
}

// Prefix reads all settings whose names begin so, by the rest of their names. Each may come from a file.
func (e *Env) Prefix(prefix, example, meaning string) map[string]string {
	e.settings = append(e.settings, Setting{Name: prefix + "*", Example: example, File: true, Meaning: meaning})
	names := map[string]bool{}
	for name, value := range e.values {
		if strings.HasPrefix(name, prefix) && value != "" {
			names[strings.TrimSuffix(name, "_FILE")] = true
		}
	}
	found := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if value := e.fromFile(name); value != "" {
			found[strings.TrimPrefix(name, prefix)] = value
		}
	}
	return found
}

func (e *Env) read(s Setting) string {
	if e.was != "" {
		s.Was, s.Meaning = e.was, s.Meaning+"\n"+e.was+", its old name, works in this release."
		if e.values[s.Name] == "" && e.values[e.was] != "" {
			e.values[s.Name], e.givenAs[s.Name] = e.values[e.was], e.was
		}
		e.was = ""
	}
	e.settings = append(e.settings, s)
	value := e.values[s.Name]
	if s.File {
		before := len(e.mistakes)
		value = e.fromFile(s.Name)
		if len(e.mistakes) > before {
			return ""
		}
	}
	if value == "" && s.Required {
		e.Check(s.Name, errors.New("is required"))
	}
	if value == "" {
		value = s.Default
	}
	return value
}

// fromFile returns the value of NAME, or what stands in the file that NAME_FILE names.
func (e *Env) fromFile(name string) string {
	path := e.values[name+"_FILE"]
	if path == "" {
		return e.values[name]
	}
	text, err := os.ReadFile(path)
	value := strings.TrimSpace(string(text))
	switch {
	case e.values[name] != "":
		err = fmt.Errorf("is set, and %s too: set one of them", name)
	case err == nil && value == "":
		err = fmt.Errorf("the file %s is empty", path)
	}
	e.Check(name+"_FILE", err)
	return value
}

func (s Setting) mistake() error {
	return fmt.Errorf("must be %s, such as %s", s.Form, s.Default)
}

// WriteSettings writes settings as JSON, for programs: --settings.
func WriteSettings(w io.Writer, settings []Setting) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(settings)
}

// PrintSettings lists settings for a person.
func PrintSettings(w io.Writer, settings []Setting) {
	fmt.Fprintln(w, "Settings, from the environment:")
	for _, s := range settings {
		line := s.Name
		if s.Default != "" {
			line += "=" + s.Default
		}
		notes := []string{}
		if s.Required {
			notes = append(notes, "required")
		}
		if s.Form != "" {
			notes = append(notes, s.Form)
		}
		if s.File {
			notes = append(notes, "or a file that "+s.Name+"_FILE names")
		}
		if len(notes) > 0 {
			line += "  (" + strings.Join(notes, "; ") + ")"
		}
		fmt.Fprintf(w, "\n  %s\n", line)
		for text := range strings.Lines(s.Meaning) {
			fmt.Fprintf(w, "      %s\n", strings.TrimSpace(text))
		}
		if s.Example != "" {
			fmt.Fprintf(w, "      For example %s=%s\n", strings.TrimSuffix(s.Name, "*"), s.Example)
		}
	}
}
