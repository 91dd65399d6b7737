package service

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

var errTest = errors.New("no route")

func testLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestReadinessMetricsAndLogSayTheSame(t *testing.T) {
	t.Parallel()
	var log testkit.Log
	registry := prometheus.NewRegistry()
	h := NewHealth(testLog(&log), registry, "postgres", "redis", "kafka")
	admin, err := ListenAdmin("127.0.0.1:0", h, registry, testLog(&log))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	get := func(path string) (int, string) {
		response, err := http.Get("http://" + admin.Addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	partition := Condition{Name: "partition 3", NotReady: true}
	sweep := Condition{Name: "postgres for sweeping", Dependency: "postgres"}
	none := []string{}
	for _, step := range []struct {
		fact   string
		do     func()
		want   State
		lacks  string
		logged string
	}{
		{fact: "while it starts", do: func() {}, want: State{Degraded: none, Reasons: []string{"starting"}}},
		{
			fact: "migrations are pending", do: func() { h.setPending([]string{"2_b.sql", "3_c.sql"}) },
			want:   State{Degraded: none, Reasons: []string{"migrations are pending: 2_b.sql 3_c.sql", "starting"}},
			logged: `level=ERROR msg="not ready: migrations are pending" condition="migrations are pending" error="2_b.sql 3_c.sql"`,
		},
		{
			fact: "started", do: func() { h.setPending(nil); h.Started() },
			want:   State{Ready: true, Degraded: none, Reasons: none},
			logged: `level=INFO msg="recovered: migrations are pending" condition="migrations are pending" after=.*`,
		},
		{
			fact: "a dependency is lost", do: func() { h.Set(Redis, errTest) },
			want:   State{Ready: true, Degraded: []string{"redis: no route"}, Reasons: none},
			lacks:  "redis",
			logged: `level=WARN msg="degraded: redis" condition=redis error="no route"`,
		},
		{fact: "it still is", do: func() { h.Set(Redis, errTest) }, want: State{Ready: true, Degraded: []string{"redis: no route"}, Reasons: none}, lacks: "redis"},
		{
			fact: "so is one of another's uses", do: func() { h.Set(Redis, nil); h.Set(sweep, errTest) },
			want:  State{Ready: true, Degraded: []string{"postgres for sweeping: no route"}, Reasons: none},
			lacks: "postgres",
			logged: `level=INFO msg="recovered: redis" condition=redis after=.*
level=WARN msg="degraded: postgres for sweeping" condition="postgres for sweeping" error="no route"`,
		},
		{
			fact: "the process alone is in trouble", do: func() { h.Set(sweep, nil); h.Set(partition, errTest) },
			want: State{Degraded: none, Reasons: []string{"partition 3: no route"}},
			logged: `level=INFO msg="recovered: postgres for sweeping" condition="postgres for sweeping" after=.*
level=ERROR msg="not ready: partition 3" condition="partition 3" error="no route"`,
		},
		{
			fact: "a standby is missing, and so Postgres seems lost", do: func() { h.Set(partition, nil); h.Set(Postgres, errTest); h.Set(standby, errTest) },
			want: State{Ready: true, Degraded: []string{"standby: no route"}, Reasons: none},
			logged: `level=INFO msg="recovered: partition 3" condition="partition 3" after=.*
level=WARN msg="degraded: postgres" condition=postgres error="no route"
level=WARN msg="degraded: standby" condition=standby error="no route"`,
		},
		{
			fact: "it is there again, and Postgres is not", do: func() { h.Set(standby, nil) },
			want:   State{Ready: true, Degraded: []string{"postgres: no route"}, Reasons: none},
			lacks:  "postgres",
			logged: `level=INFO msg="recovered: standby" condition=standby after=.*`,
		},
		{
			fact: "it leads, and is told to end", do: func() { h.Set(Postgres, nil); h.SetRole("leader"); h.Drain() },
			want:   State{Role: "leader", Degraded: none, Reasons: []string{"draining"}},
			logged: `level=INFO msg="recovered: postgres" condition=postgres after=.*`,
		},
	} {
		log.Take()
		step.do()
		code, body := get("/readyz")
		var got State
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, got); diff != "" || (code == http.StatusOK) != step.want.Ready {
			t.Errorf("%s: %d %s", step.fact, code, diff)
		}
		if logged := log.Take(); !regexp.MustCompile("^" + step.logged + "\n?$").MatchString(logged) {
			t.Errorf("%s: logged\n%s\nwant\n%s", step.fact, logged, step.logged)
		}
		_, metrics := get("/metrics")
		for _, dependency := range []string{"postgres", "redis", "kafka"} {
			value := "1"
			if dependency == step.lacks {
				value = "0"
			}
			if line := `wallet_dependency_up{dependency="` + dependency + `"} ` + value + "\n"; !strings.Contains(metrics, line) {
				t.Errorf("%s: the metrics lack %s", step.fact, line)
			}
		}
	}
}

// What begins and ends many times a second is one line, and one a minute after that.
func TestAFlappingConditionIsLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		h := NewHealth(testLog(&log), prometheus.NewRegistry())
		expect := func(fact, want string) {
			t.Helper()
			synctest.Wait()
			if logged := log.Take(); logged != want {
				t.Errorf("%s: logged\n%s\nwant\n%s", fact, logged, want)
			}
		}
		for range 67 {
			h.Set(Redis, errTest)
			h.Set(Redis, nil)
		}
		expect("67 times at once", "level=WARN msg=\"degraded: redis\" condition=redis error=\"no route\"\nlevel=INFO msg=\"recovered: redis\" condition=redis after=0s\n")
		time.Sleep(quietTime + time.Second)
		expect("a minute later", "level=WARN msg=\"came and went: redis\" condition=redis times=66\n")
		h.Set(Redis, errTest)
		h.Set(Redis, nil)
		h.Set(Redis, errTest)
		expect("it begins again, twice", "level=WARN msg=\"degraded: redis\" condition=redis error=\"no route\"\nlevel=INFO msg=\"recovered: redis\" condition=redis after=0s\n")
		time.Sleep(quietTime + time.Second)
		expect("and goes on", "level=WARN msg=\"degraded: redis\" condition=redis error=\"no route\" times=1\n")
		h.Set(Redis, nil)
		expect("its end", "level=INFO msg=\"recovered: redis\" condition=redis after=1m1s\n")
		time.Sleep(2 * quietTime)
		expect("quiet", "")
	})
}

func TestALineThatRepeatsIsLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		r := NewRepeats(testLog(&log))
		for offset := range 20_000 {
			r.Log(slog.LevelError, "unparseable message", "offset", offset)
		}
		r.Log(slog.LevelWarn, "another", "wallet", 1)
		time.Sleep(quietTime + time.Second)
		synctest.Wait()
		want := "level=ERROR msg=\"unparseable message\" offset=0\nlevel=WARN msg=another wallet=1\nlevel=ERROR msg=\"unparseable message\" offset=19999 times=19999\n"
		if logged := log.Take(); logged != want {
			t.Errorf("logged\n%s\nwant\n%s", logged, want)
		}
		time.Sleep(quietTime)
		r.Log(slog.LevelError, "unparseable message", "offset", 7)
		want = "level=ERROR msg=\"unparseable message\" offset=7\n"
		if logged := log.Take(); logged != want {
			t.Errorf("after a quiet minute: logged\n%s\nwant\n%s", logged, want)
		}
		time.Sleep(3 * quietTime)
	})
}
