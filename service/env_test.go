package service

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestASettingHasItsOldName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		environ []string
		want    time.Duration
		mistake string
	}{
		{"neither", nil, time.Second, ""},
		{"the old name", []string{"OLD=2s"}, 2 * time.Second, ""},
		{"both", []string{"OLD=2s", "NEW=3s"}, 3 * time.Second, ""},
		{"a mistake under the old name", []string{"OLD=2"}, 0, "OLD: must be"},
		{"a mistake under the new name", []string{"OLD=2s", "NEW=3"}, 0, "NEW: must be"},
	} {
		env := NewEnv(test.environ)
		got := env.Was("OLD").Duration("NEW", time.Second, time.Millisecond, "A time.")
		env.String("NEXT", "", "Has no old name.")
		err := fmt.Sprint(env.Err())
		if got != test.want || !strings.HasPrefix(err, test.mistake) || (test.mistake == "") != (env.Err() == nil) {
			t.Errorf("%s: %v (%s), want %v (%s)", test.name, got, err, test.want, test.mistake)
		}
		if settings := env.Declared(); len(settings) != 2 || !strings.Contains(settings[0].Meaning, "OLD, its old name") || strings.Contains(settings[1].Meaning, "OLD") {
			t.Errorf("%s: declared %+v", test.name, settings)
		}
	}
}

// read is a service with a setting of each kind.
func read(env *Env) map[string]any {
	got := map[string]any{
		"TOPIC":     env.String("TOPIC", "wallet-operations", "The topic."),
		"URL":       env.RequiredSecret("URL", "postgres://host/db", "The database."),
		"PASSWORD":  env.Secret("PASSWORD", "", "Of the user."),
		"AUTH":      env.OneOf("AUTH", []string{"on", "off"}, "Keys."),
		"FLUSH_MAX": env.Int("FLUSH_MAX", 500, 1, math.MaxInt, "Operations."),
		"SIZE":      env.Int("SIZE", 2000, 1, 5000, "Messages."),
		"ARG":       env.Fraction("ARG", 0.01, "A part."),
		"INTERVAL":  env.Duration("INTERVAL", 24*time.Hour, time.Minute, "Between two."),
		"ADMIN":     env.Addr("ADMIN", ":9080", "Of health."),
		"ORIGINS":   env.Optional("ORIGINS", "https://shop.example", "Pages."),
	}
	for name, value := range env.Prefix("RDKAFKA_", "", "Of librdkafka.") {
		got["RDKAFKA_"+name] = value
	}
	return got
}

func TestSettingsAreReadWithoutTheirWhiteSpace(t *testing.T) {
	t.Parallel()
	defaults := map[string]any{
		"TOPIC": "wallet-operations", "URL": "postgres://h/d", "PASSWORD": "", "AUTH": "on", "FLUSH_MAX": 500, "SIZE": 2000, "ARG": 0.01,
		"INTERVAL": 24 * time.Hour, "ADMIN": ":9080", "ORIGINS": "",
	}
	for fact, test := range map[string]struct {
		environ []string
		differ  map[string]any
	}{
		"defaults":         {[]string{"URL=postgres://h/d"}, nil},
		"a newline":        {[]string{"URL=postgres://h/d\n", "AUTH= OFF\t", "INTERVAL=5m\r\n"}, map[string]any{"AUTH": "off", "INTERVAL": 5 * time.Minute}},
		"empty is unset":   {[]string{"URL=postgres://h/d", "TOPIC=", "AUTH= ", "FLUSH_MAX=", "PASSWORD_FILE="}, nil},
		"a file":           {[]string{"URL_FILE=" + file(t, "postgres://h/d\n"), "PASSWORD_FILE=" + file(t, " s3cret ")}, map[string]any{"PASSWORD": "s3cret"}},
		"a prefix":         {[]string{"URL=postgres://h/d", "RDKAFKA_A=x", "RDKAFKA_B_C_FILE=" + file(t, "y\n"), "RDKAFKA_D="}, map[string]any{"RDKAFKA_A": "x", "RDKAFKA_B_C": "y"}},
		"= within a value": {[]string{"URL=postgres://h/d?a=b"}, map[string]any{"URL": "postgres://h/d?a=b"}},
	} {
		env := NewEnv(test.environ)
		want := maps.Clone(defaults)
		maps.Copy(want, test.differ)
		if got := read(env); env.Err() != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v %s", fact, env.Err(), cmp.Diff(want, got))
		}
	}
}

func TestEveryMistakeIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	empty := file(t, "\n")
	for _, test := range []struct {
		environ []string
		want    string
	}{
		{nil, "URL: is required"},
		{[]string{"URL=x", "AUTH=yes", "FLUSH_MAX=0", "SIZE=5001", "ARG=2", "INTERVAL=30", "ADMIN=9080"}, `AUTH: must be on or off
FLUSH_MAX: must be a whole number of at least 1, such as 500
SIZE: must be a whole number from 1 to 5000, such as 2000
ARG: must be a number from 0 to 1, such as 0.01
INTERVAL: must be a duration of at least 1m, such as 24h
ADMIN: must be host:port or :port, such as :9080`},
		{[]string{"URL=x", "INTERVAL=1s", "ARG=NaN"}, "ARG: must be a number from 0 to 1, such as 0.01\nINTERVAL: must be a duration of at least 1m, such as 24h"},
		{[]string{"URL_FILE=/nowhere"}, "URL_FILE: open /nowhere: no such file or directory"},
		{[]string{"URL_FILE=" + empty}, "URL_FILE: the file " + empty + " is empty"},
		{[]string{"URL=x", "URL_FILE=" + empty}, "URL_FILE: is set, and URL too: set one of them"},
		{[]string{"URL=x", "RDKAFKA_A_FILE=" + empty}, "RDKAFKA_A_FILE: the file " + empty + " is empty"},
	} {
		env := NewEnv(test.environ)
		read(env)
		if got := fmt.Sprint(env.Err()); got != test.want {
			t.Errorf("%q:\n%s\nwant\n%s", test.environ, got, test.want)
		}
	}
}

func TestPropertiesOfLibrdkafkaAreMerged(t *testing.T) {
	t.Parallel()
	type properties map[string]any
	defaults, rules := properties{"client.id": "x", "linger.ms": 1}, properties{"acks": "all"}
	env := NewEnv(nil)
	given := map[string]string{"linger.ms": "2", "sasl.username": "u"}
	want := properties{"client.id": "x", "linger.ms": "2", "sasl.username": "u", "acks": "all"}
	if diff := cmp.Diff(want, Properties(env, "the worker", given, defaults, rules)); diff != "" || env.Err() != nil {
		t.Errorf("%v (-want +got):\n%s", env.Err(), diff)
	}
	given["acks"] = "1"
	if diff := cmp.Diff(want, Properties(env, "the worker", given, defaults, rules)); diff != "" || fmt.Sprint(env.Err()) != "RDKAFKA_ACKS: is set by the worker itself" {
		t.Errorf("%v (-want +got):\n%s", env.Err(), diff)
	}
	if len(defaults) != 2 || len(rules) != 1 {
		t.Errorf("what is merged was changed: %v, %v", defaults, rules)
	}
}

func TestHelpListsTheSettings(t *testing.T) {
	t.Parallel()
	p := Program[map[string]any]{Name: "api", About: "The api accepts.", Config: read}
	var out, mistakes bytes.Buffer
	if code := p.describe([]string{"--help"}, &out, &mistakes); code != 0 || mistakes.Len() > 0 {
		t.Errorf("exit code %d: %s", code, mistakes.String())
	}
	for _, part := range []string{
		"The api accepts.\n\nusage: api [--help | --version | --settings]\n",
		"\n  LOG_LEVEL=info  (info or debug or warn or error)\n",
		"\n  URL  (required; or a file that URL_FILE names)\n      The database.\n      For example URL=postgres://host/db\n",
		"\n  INTERVAL=24h  (a duration of at least 1m)\n      Between two.\n",
		"\n  RDKAFKA_*  (or a file that RDKAFKA_*_FILE names)\n      Of librdkafka.\n",
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("--help lacks\n%s\nin\n%s", part, out.String())
		}
	}
	if code := p.describe([]string{"--hlep"}, &out, &mistakes); code != 2 || !strings.Contains(mistakes.String(), "--help") {
		t.Errorf("a wrong argument: exit code %d: %s", code, mistakes.String())
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		environ []string
		err     error
		code    int
		says    string
	}{
		{environ: []string{"URL=x"}, code: 0, says: `"msg":"worker ended"`},
		{environ: []string{"URL=x"}, err: errTest, code: 1, says: `"msg":"worker ends","error":"no route"`},
		{environ: []string{"LOG_LEVEL=loud", "AUTH=x"}, code: 2, says: "LOG_LEVEL: must be info or debug or warn or error\nURL: is required\nAUTH: must be on or off\n"},
		{environ: []string{"URL=x", "LOG_LEVEL=error"}, code: 0},
	} {
		var stderr bytes.Buffer
		p := Program[map[string]any]{Name: "worker", Config: read, Run: func(context.Context, map[string]any, *slog.Logger) error { return test.err }}
		if code := p.Start(t.Context(), test.environ, &stderr); code != test.code || !strings.Contains(stderr.String(), test.says) || test.says == "" && stderr.Len() > 0 {
			t.Errorf("%q: exit code %d, want %d: %s", test.environ, code, test.code, stderr.String())
		}
	}
}
