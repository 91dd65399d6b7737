//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// canary counts the connections to a port of this machine, at 127.0.0.1 and, where there is one, at ::1.
func canary(t *testing.T) (port string, connections *atomic.Int64) {
	t.Helper()
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err = net.SplitHostPort(first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int64)
	listen := func(l net.Listener) {
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				connections.Add(1)
				_ = conn.Close()
			}
		}()
	}
	listen(first)
	if second, err := net.Listen("tcp", "[::1]:"+port); err == nil {
		listen(second)
	}
	return port, connections
}

// Whatever a URL of a webhook is written like, it leads to nothing that only we can reach, and the answer does not say
// where it would have led.
func TestNoURLOfAWebhookLeadsInside(t *testing.T) {
	s := sharedSystem(t)
	allow := []string{"HOOKS_ALLOW=127.0.0.9/32"}
	s.ServiceEnv = map[string][]string{"api": allow, "hooks": allow}
	s.Prepare(stack.Config{APIs: 1, Relays: 1, Workers: 1, Hooks: 1})
	s.Begin()
	port, connections := canary(t)
	webhook := s.webhook("/api/v1/webhooks", `{"url":"https://1.1.1.1/"}`)
	hosts := []string{
		"127.0.0.1", "localhost", "LOCALHOST.", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "[::1%25lo]",
		"user@127.0.0.1", "1.1.1.1@127.0.0.1", "1.1.1.1:443@127.0.0.1", "1.1.1.1\\@127.0.0.1", "1.1.1.1 @127.0.0.1", "1.1.1.1#@127.0.0.1", "1.1.1.1%20@127.0.0.1",
		"①②⑦.⓪.⓪.①", "127。0。0。1", "%31%32%37.0.0.1", "127.0.0.1%00.example", "127.0.0.1%2eexample", "127.0.0.1\t", "127.0.0.1\x00", " 127.0.0.1", "[127.0.0.1]",
	}
	var urls []string
	for _, host := range hosts {
		for _, scheme := range []string{"https", "http", "hTTpS", " https"} {
			urls = append(urls, scheme+"://"+host+":"+port+"/")
		}
	}
	urls = append(urls,
		"https://169.254.169.254/latest/meta-data/", "https://[::ffff:169.254.169.254]/", "https://2852039166/", "https://[fd00:ec2::254]/", "https://[fe80::1%25eth0]/",
		"https://100.100.100.200/", "https://168.63.129.16/", "https://192.0.0.192/", "https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/", "https://100.64.0.1/",
		"https://198.18.0.1/", "https://224.0.0.1/", "https://255.255.255.255/", "https://192.0.2.1/", "https://[2001:db8::1]/", "https://[fc00::1]/", "https://[ff02::1]/",
		"http://1.1.1.1/", "gopher://127.0.0.1:"+port+"/", "file:///etc/passwd", "ftp://127.0.0.1/", "dict://127.0.0.1:"+port+"/", "jar:https://1.1.1.1!/", "data:text/plain,x", "javascript:alert(1)",
		"//127.0.0.1:"+port+"/", "https:127.0.0.1", "https:///127.0.0.1/", "https://", "https://:443/", "https://127.0.0.1:0/", "https://1.1.1.1:99999/", "https://1.1.1.1:-1/", "https://1.1.1.1:80:80/",
		"https://[::1", "https://::1/", "https://./", "https://a..b/", "https://"+strings.Repeat("a", 300)+"/", "https://"+strings.Repeat("a.", 150)+"/", "https://nobody.invalid/",
		"https://127.0.0.1:"+port+"/\r\nX-Evil: 1", "https://127.0.0.1:"+port+"#@1.1.1.1/", "https://127.0.0.1:"+port+"\\@1.1.1.1/", "https://127.0.0.1:"+port+"?@1.1.1.1/",
	)
	for _, url := range urls {
		body, err := json.Marshal(map[string]string{"url": url})
		if err != nil {
			t.Fatal(err)
		}
		for _, route := range []string{"POST /api/v1/webhooks", "PATCH /api/v1/webhooks/" + webhook.ID} {
			method, path, _ := strings.Cut(route, " ")
			status, answer := s.send(method, s.APIURLs[0]+path, strings.NewReader(string(body)))
			for try := 1; try < 5 && strings.Contains(answer, "could not be resolved"); try++ { // a name server may fail
				status, answer = s.send(method, s.APIURLs[0]+path, strings.NewReader(string(body)))
			}
			var problem struct {
				Code   string
				Detail string
				Errors []struct{ Detail string }
			}
			if err := json.Unmarshal([]byte(answer), &problem); err != nil || status != 400 && status != 422 || problem.Code != "url-refused" && problem.Code != "invalid-request" {
				t.Errorf("%s with %q: %d %s", method, url, status, answer)
			}
			for _, inner := range []string{"127.0.0.1", "169.254", "::1"} {
				if strings.Contains(fmt.Sprint(problem.Detail, problem.Errors), inner) {
					t.Errorf("%s with %q: the answer says where it leads: %s", method, url, answer)
				}
			}
		}
	}
	if n := connections.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
}

// Whatever stands in a field, the api answers as the contract says, and goes on.
func TestEveryFieldOfAWebhookMayBeHostile(t *testing.T) {
	s := newSystem(t, stack.Config{APIs: 1, Relays: 1, Workers: 1})
	webhook := s.webhook("/api/v1/webhooks", `{"url":"https://1.1.1.1/"}`)
	path := s.APIURLs[0] + "/api/v1/webhooks"
	id := `"` + uuid.NewString() + `"`
	values := []string{
		"null", "true", "0", "-1", "1e308", "1e999", `""`, `" "`, `"\u0000"`, `"\u001b[31m"`, `"\u202e\u200b"`, `"\ufeff"`, `"\ud800"`, `"<script>alert(1)</script>"`, `"' OR 1=1--"`, `"{{7*7}}"`,
		`"${jndi:ldap://127.0.0.1/}"`, `"%s%n"`, `"../../etc/passwd"`, `"` + strings.Repeat("a", 201) + `"`, `"` + strings.Repeat("é", 200) + `"`, `"` + strings.Repeat("a", 100_000) + `"`,
		"[]", "{}", "[[]]", "[null]", "[{}]", `["x"]`, "[" + id + "]", "[" + strings.Repeat(id+",", 100) + id + "]", `["DEPOSIT"]`, `"DEPOSIT"`, "\"\xff\xfe\"", strings.Repeat("[", 20_000),
		`"2026-13-01T00:00:00Z"`, `"0000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59Z"`, `"2026-01-01T00:00:00+99:99"`,
	}
	attack := func(method, url, body string, expected ...int) (answer string) {
		t.Helper()
		status, answer := s.send(method, url, strings.NewReader(body))
		if !slices.Contains(append(expected, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity), status) {
			t.Errorf("%s %s %.200q: %d %s", method, url, body, status, answer)
		}
		return answer
	}
	for _, field := range []string{"url", "description", "wallets", "types", "enabled", "secret", "id", "tenant", "previousSecretUntil", "__proto__", ""} {
		for _, value := range values {
			body := fmt.Sprintf(`{"url":"https://1.1.1.1/",%q:%s}`, field, value)
			if field == "url" {
				body = fmt.Sprintf(`{"url":%s}`, value)
			}
			var made struct{ ID string }
			if json.Unmarshal([]byte(attack("POST", path, body, http.StatusCreated)), &made) == nil && made.ID != "" {
				attack("DELETE", path+"/"+made.ID, "", http.StatusNoContent)
			}
			attack("PATCH", path+"/"+webhook.ID, fmt.Sprintf(`{%q:%s}`, field, value), http.StatusOK)
		}
	}
	for _, field := range []string{"since", "run", "x"} {
		for _, value := range values {
			attack("POST", path+"/"+webhook.ID+"/replay", fmt.Sprintf(`{%q:%s}`, field, value), http.StatusAccepted)
			attack("POST", path+"/"+webhook.ID+"/skip", fmt.Sprintf(`{%q:%s}`, field, value), http.StatusConflict)
		}
	}
	for _, body := range []string{"", "null", "[]", "{", `{"url":"https://1.1.1.1/","url":"http://127.0.0.1/"}`, "\ufeff" + `{"url":"https://1.1.1.1/"}`, `{"url":"https://1.1.1.1/"}{}`, strings.Repeat(`{"a":`, 50_000), strings.Repeat("x", 2_000_000)} {
		attack("POST", path, body)
	}
	if status, answer := s.get("/api/v1/webhooks/"+webhook.ID, s.APIURLs[0]); status != http.StatusOK {
		t.Errorf("the webhook afterwards: %d %s", status, answer)
	}
	if s.Process("api").StartCount() != 1 {
		t.Error("the api has ended meanwhile")
	}
}
