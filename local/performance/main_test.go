package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFillReplacesBlocksAndNothingElse(t *testing.T) {
	t.Parallel()
	block := func(name string) (string, error) { return "\ntext of " + name + "\n", nil }
	for _, test := range []struct{ name, page, want, mistake string }{
		{name: "no block", page: "a\n", want: "a\n"},
		{
			name: "what stood there goes",
			page: "a\n<!-- performance:begin one -->\nold\n<!-- performance:end -->\nb\n",
			want: "a\n<!-- performance:begin one -->\ntext of one\n<!-- performance:end -->\nb\n",
		},
		{
			name: "two blocks",
			page: "<!-- performance:begin one --><!-- performance:end --><!-- performance:begin two -->\n\n<!-- performance:end -->",
			want: "<!-- performance:begin one -->\ntext of one\n<!-- performance:end --><!-- performance:begin two -->\ntext of two\n<!-- performance:end -->",
		},
		{name: "other markers stay", page: "<!-- faults:begin -->x<!-- faults:end -->", want: "<!-- faults:begin -->x<!-- faults:end -->"},
		{name: "no end", page: "<!-- performance:begin one -->\na\n", mistake: "block one does not end"},
		{name: "an end inside the next block", page: "<!-- performance:begin one --><!-- performance:begin two --><!-- performance:end -->", mistake: "block one does not end"},
		{name: "no begin", page: "a <!-- performance:end -->", mistake: "a block ends that did not begin"},
	} {
		got, err := fill(test.page, block)
		if test.mistake != "" {
			if err == nil || err.Error() != test.mistake {
				t.Errorf("%s: %v, want %s", test.name, err, test.mistake)
			}
			continue
		}
		if err != nil || got != test.want {
			t.Errorf("%s: %q, %v", test.name, got, err)
		}
		if again, err := fill(got, block); err != nil || again != got {
			t.Errorf("%s: a second time it is %q, %v", test.name, again, err)
		}
	}
}

func TestNumbersAreWrittenWithTheDigitsThatMeanSomething(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ got, want string }{
		{count(0), "0"},
		{count(999.4), "999"},
		{count(999.6), "1,000"},
		{count(19402.07), "19,402"},
		{count(3293824), "3,293,824"},
		{ms(0.937), "0.9"},
		{ms(9.96), "10"},
		{ms(8.551), "8.6"},
		{ms(127.551), "128"},
		{ratio(0.401), "0.40"},
		{short(0.401), "0.401"},
		{short(42293.9), "42,294"},
	} {
		if test.got != test.want {
			t.Errorf("%s, want %s", test.got, test.want)
		}
	}
}

// The kept results lie beside older ones, ones of other kinds, and campaigns that threw a part of the faults.
func TestTheNewestOfEachKindIsQuoted(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for folder, date := range map[string]string{
		"2026-01-02": "2026-01-02T10:00:00Z", "2026-01-01": "2026-01-01T10:00:00Z", "2026-01-03-other": "2026-01-03T10:00:00Z",
		"2026-01-01-stalls": "2026-01-01T10:00:00Z", "2026-01-01-stored": "2026-01-01T10:00:00Z", "2026-01-01-stored-50m": "2026-01-01T10:00:00Z",
	} {
		write("local/results/"+folder+"/results.json", `{"date":"`+date+`","results":[{"scenario":"s","figures":{"f":{"median":2,"min":1,"max":3}}}]}`)
	}
	for name, text := range map[string]string{
		"old":   `{"date":"2026-01-01T10:00:00Z","command":"make faults","conditions":"Kafka: apache"}`,
		"new":   `{"date":"2026-01-02T10:00:00Z","command":"make faults","conditions":"Kafka: apache","kinds":[{"fault":"a","thrown":2},{"fault":"b","notPossible":"here"}]}`,
		"part":  `{"date":"2026-01-03T10:00:00Z","command":"make faults ARGS='-only clock'","conditions":"Kafka: apache"}`,
		"drill": `{"date":"2026-01-03T10:00:00Z","command":"make faults ARGS=-drill","conditions":"Kafka: apache"}`,
		"kfake": `{"date":"2026-01-04T10:00:00Z","command":"make faults","conditions":"Kafka: kfake"}`,
	} {
		write("local/reports/faults-"+name+".json", text)
	}
	n, err := readNewest(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ what, got, want string }{
		{"all scenarios", n.All.Folder, "local/results/2026-01-02"},
		{"stalls", n.Stalls.Folder, "local/results/2026-01-01-stalls"},
		{"faults", n.Faults.File, "local/reports/faults-new"},
		{"broker faults", n.KFake.File, "local/reports/faults-kfake"},
		{"kinds that were thrown", count(n.Faults.Thrown()), "1"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %s, want %s", test.what, test.got, test.want)
		}
	}
	if value, err := n.All.Median("s", "f"); err != nil || value != 2 {
		t.Errorf("the median is %v, %v", value, err)
	}
	if _, err := n.All.Median("s", "missing"); err == nil || !strings.Contains(err.Error(), `local/results/2026-01-02 has no "missing" of "s"`) {
		t.Errorf("a missing figure: %v", err)
	}

	write("README.md", "# Here\n")
	write("docs/other.md", "# Other\n")
	if err := generate(root); err == nil || !strings.Contains(err.Error(), "has no") {
		t.Errorf("a page without its figures is written: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "docs", "performance.md")); err == nil {
		t.Error("performance.md is there, although figures are missing")
	}
	if err := os.RemoveAll(filepath.Join(root, "local/results/2026-01-01-stalls")); err != nil {
		t.Fatal(err)
	}
	if _, err := readNewest(root); err == nil || err.Error() != "local/results has no DATE-stalls" {
		t.Errorf("without a kind: %v", err)
	}
}

// `make generate` leaves nothing to do. make check says so too, but here a page that was edited by hand is named.
func TestThePagesSayWhatTheResultsSay(t *testing.T) {
	t.Parallel()
	texts, err := render(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range texts {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what make generate writes: %v", path, err)
		}
	}
}
