package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/legendary-wallet/legendary-wallet/db/mutation"
	"github.com/legendary-wallet/legendary-wallet/db/testdb"
	"github.com/legendary-wallet/legendary-wallet/db/testkit"
)

func TestMain(m *testing.M) {
	if server := os.Getenv("SLOW_PROXY"); server != "" {
		serveSlowProxy(server)
		return
	}
	folder := os.Getenv(mutation.Folder)
	if folder == "" {
		var err error
		if folder, err = os.MkdirTemp("", "api"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(folder)
	}
	binary = sync.OnceValues(func() (string, error) {
		return build(folder, testkit.BuildFlags()...)
	})
	m.Run()
}

// binary is the api as testkit.BuildFlags says.
var binary func() (string, error)

func build(folder string, flags ...string) (string, error) {
	program := filepath.Join(folder, "api")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	command := exec.Command("go", append([]string{"build", "-ldflags=-w", "-o", program}, flags...)...)
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the api: %w\n%s", err, output)
	}
	return program, nil
}

// api is a running process.
type api struct {
	url     string
	admin   testkit.Admin
	key     string // sent with every request
	process *os.Process
	log     *testkit.Log
	exited  chan struct{}
	code    int // once it has exited
}

// startAPI starts an api and waits until it listens.
func startAPI(t *testing.T, databaseURL string, settings ...string) *api {
	t.Helper()
	a := launchAPI(t, databaseURL, settings...)
	a.listening(t)
	return a
}

// launchAPI starts an api; it may not get far.
func launchAPI(t *testing.T, databaseURL string, settings ...string) *api {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return launchProgram(t, program, databaseURL, settings...)
}

func launchProgram(t *testing.T, program, databaseURL string, settings ...string) *api {
	t.Helper()
	redisURL := os.Getenv("TEST_REDIS_URL")
	if redisURL == "" {
		t.Fatal("TEST_REDIS_URL is not set: run `make test`, or set it to a Redis server's URL")
	}
	a := &api{admin: testkit.Admin(testkit.FreeAddr(t).String()), log: testkit.NewLog(t, "the api"), exited: make(chan struct{})}
	cmd := exec.Command(program)
	cmd.Env = append([]string{
		"DATABASE_URL=" + databaseURL, "REDIS_URL=" + redisURL, "HTTP_ADDR=127.0.0.1:0", "ADMIN_ADDR=" + string(a.admin), "AUTH=off",
		"GORACE=atexit_sleep_ms=0", // else the race detector sleeps for a second at the end
	}, settings...)
	cmd.Stderr = a.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a.process = cmd.Process
	go func() {
		_ = cmd.Wait()
		a.code = cmd.ProcessState.ExitCode()
		close(a.exited)
	}()
	t.Cleanup(func() {
		_ = a.process.Kill()
		<-a.exited
		if a.log.Count("DATA RACE") > 0 {
			t.Error("the api has a data race")
		}
	})
	return a
}

func (a *api) listening(t *testing.T) {
	t.Helper()
	testkit.Until(t, "the api listens", a.log.Has("api listening"))
	var line struct{ Addr string }
	if err := json.Unmarshal([]byte(a.log.Lines("api listening")[0]), &line); err != nil {
		t.Fatal(err)
	}
	a.url = "http://" + line.Addr
}

func (a *api) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := a.process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func (a *api) exitCode(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-a.exited:
		return a.code
	case <-time.After(within):
		t.Fatalf("the api runs still after %v", within)
		return 0
	}
}

// reply is an answer of the api.
type reply struct {
	status int
	header http.Header
	body   map[string]any
	text   string
	err    error
}

// send sends a request; headers are "Name: value".
func (a *api) send(method, path, body string, headers ...string) reply {
	if a.key != "" && !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Authorization: ") }) {
		headers = append(headers[:len(headers):len(headers)], "Authorization: Bearer "+a.key)
	}
	return sendTo(a.url, method, path, body, headers...)
}

func sendTo(url, method, path, body string, headers ...string) reply {
	request, err := http.NewRequest(method, url+path, strings.NewReader(body))
	if err != nil {
		return reply{err: err}
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Add(name, value)
	}
	if (method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch) && request.Header["Content-Type"] == nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		return reply{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	r := reply{status: response.StatusCode, header: response.Header, text: string(text), err: err}
	numbers := json.NewDecoder(bytes.NewReader(text))
	numbers.UseNumber()
	_ = numbers.Decode(&r.body)
	return r
}

var client = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 200},
	Timeout:       time.Minute,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (a *api) deposit(walletID uuid.UUID, amount int, headers ...string) reply {
	return a.send("POST", "/api/v1/wallet", depositBody(walletID, amount), headers...)
}

func depositBody(walletID uuid.UUID, amount int) string {
	return fmt.Sprintf(`{"walletId":"%s","operationType":"DEPOSIT","amount":%d}`, walletID, amount)
}

func (a *api) newWallet(t *testing.T) uuid.UUID {
	t.Helper()
	r := a.send("POST", "/api/v1/wallets", "{}")
	if r.status != http.StatusCreated {
		t.Fatalf("create a wallet: %d %s %v", r.status, r.text, r.err)
	}
	return uuid.MustParse(r.body["walletId"].(string))
}

func (r reply) number(t *testing.T, field string) int64 {
	t.Helper()
	number, ok := r.body[field].(json.Number)
	if !ok {
		t.Fatalf("no number %s in %d %s %v", field, r.status, r.text, r.err)
	}
	n, _ := number.Int64()
	return n
}

// mustBeDense checks a wallet's rows: sequences without gaps, one outbox row each, in their order.
func mustBeDense(t *testing.T, conn *pgx.Conn, walletID uuid.UUID, operations int) {
	t.Helper()
	var count, last, counted, ordered int
	err := conn.QueryRow(t.Context(), `
		SELECT (SELECT count(*) FROM operations WHERE wallet_id = $1),
		       (SELECT coalesce(max(seq), 0) FROM operations WHERE wallet_id = $1),
		       (SELECT last_seq FROM wallet_sequences WHERE wallet_id = $1),
		       (SELECT count(*) FROM (
		          SELECT convert_from(payload, 'UTF8')::json->>'sequence' AS seq, row_number() OVER (ORDER BY id) AS place
		          FROM outbox WHERE key = $1::text) o WHERE o.seq = o.place::text)`, walletID).Scan(&count, &last, &counted, &ordered)
	if err != nil {
		t.Fatal(err)
	}
	if count != operations || last != operations || counted != operations || ordered != operations {
		t.Errorf("operations %d, last sequence %d, last_seq %d, outbox rows in order %d; want %d of each", count, last, counted, ordered, operations)
	}
}

// flushWaits returns a condition: a connection named flush waits for a lock.
func flushWaits(observer *pgx.Conn) func() error {
	return func() error {
		var waits bool
		err := observer.QueryRow(context.Background(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'flush' AND wait_event_type = 'Lock')").Scan(&waits)
		return errors.Join(err, testkit.Unless(waits, "it does not"))
	}
}

// lockWallet keeps a wallet's sequence row locked until the test or release ends it.
func lockWallet(t *testing.T, database testdb.Database, walletID uuid.UUID) (release func()) {
	t.Helper()
	conn := database.Conn(t)
	if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT FROM wallet_sequences WHERE wallet_id = $1 FOR UPDATE", walletID); err != nil {
		t.Fatal(err)
	}
	return func() { _, _ = conn.Exec(context.Background(), "ROLLBACK") }
}
