//go:build e2e

package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/legendary-wallet/legendary-wallet/db/testkit"
	"github.com/legendary-wallet/legendary-wallet/local/stack"
)

// person uses the console as somebody would who sees it, or hears it read: by the roles and names of what is on it.
type person struct {
	t      *testing.T
	ctx    context.Context
	origin string // where the console is

	mu         sync.Mutex
	asked      []string // what the browser asked for, method and URL
	violations []string // of the Content-Security-Policy
	exceptions []string // that no code of the console caught
	dialogs    []string // that scripts opened: of those that were slipped in
}

// openConsole opens the console of an origin with a new browser, for up to limit.
func openConsole(t *testing.T, origin string, limit time.Duration) *person {
	t.Helper()
	p := &person{t: t, ctx: openBrowserFor(t, limit), origin: origin}
	if err := chromedp.Listen(p.ctx, p.note); err != nil {
		t.Fatal(err)
	}
	call(p, audits.Enable, cdp.Empty{})
	// A dialog would stop every script until somebody closes it.
	dialogs := chromedp.Events(p.ctx, cdppage.JavascriptDialogOpening)
	go func() {
		for range dialogs {
			_, _ = chromedp.Call(p.ctx, cdppage.HandleJavaScriptDialog, cdppage.HandleJavaScriptDialogParams{})
		}
	}()
	p.open("")
	return p
}

// open goes to a page as its address names it, such as "#/system".
func (p *person) open(address string) {
	p.t.Helper()
	do(p.t, p.ctx, chromedp.Navigate(p.origin+"/console/"+address))
}

// note remembers what must not have happened. It runs in the loop that reads events.
func (p *person) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.asked = append(p.asked, e.Request.Method+" "+e.Request.URL)
	case *audits.EventIssueAdded:
		if d := e.Issue.Details.ContentSecurityPolicyIssueDetails; d != nil {
			p.violations = append(p.violations, fmt.Sprintf("%s %s", d.ViolatedDirective, d.BlockedURL))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		p.exceptions = append(p.exceptions, text)
	case *cdppage.EventJavascriptDialogOpening:
		p.dialogs = append(p.dialogs, e.Message)
	}
}

// behaved fails the test if the console asked somebody else for anything, put a key into an address, broke its
// Content-Security-Policy, threw, or ran a script that was slipped in.
func (p *person) behaved(key string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, request := range p.asked {
		_, address, _ := strings.Cut(request, " ")
		if !strings.HasPrefix(address, p.origin+"/") && !strings.HasPrefix(address, "data:") && !strings.HasPrefix(address, "blob:"+p.origin+"/") {
			p.t.Errorf("the console asked somebody else: %s", request)
		}
		if strings.Contains(address, key) {
			p.t.Errorf("an address has the key: %s", request)
		}
	}
	for what, all := range map[string][]string{"violation of the policy": p.violations, "exception": p.exceptions, "dialog": p.dialogs} {
		for _, one := range all {
			p.t.Errorf("%s: %s", what, one)
		}
	}
}

// find waits for the one element that has a role and a name.
func (p *person) find(role, name string) cdp.BackendNodeID {
	p.t.Helper()
	var found cdp.BackendNodeID
	testkit.Within(p.t, patience, fmt.Sprintf("a %s %q", role, name), func() (err error) {
		found, err = p.lookFor(role, name)
		return err
	})
	return found
}

// patience is how long somebody waits for something to come or to go.
const patience = 30 * time.Second

func (p *person) lookFor(role, name string) (cdp.BackendNodeID, error) {
	nodes, err := p.all(role, name)
	if err != nil {
		return 0, err
	}
	if len(nodes) != 1 {
		return 0, fmt.Errorf("%d of them; to be read: %s", len(nodes), p.text())
	}
	return nodes[0], nil
}

// all are the elements of a role and a name that somebody can use. An empty name is any.
func (p *person) all(role, name string) (found []cdp.BackendNodeID, err error) {
	document, err := chromedp.Call(p.ctx, dom.GetDocument, dom.GetDocumentParams{})
	if err != nil {
		return nil, err
	}
	tree, err := chromedp.Call(p.ctx, accessibility.QueryAXTree, accessibility.QueryAXTreeParams{
		BackendNodeID: document.Root.BackendNodeID, Role: role, AccessibleName: name,
	})
	if err != nil {
		return nil, err
	}
	for _, node := range tree.Nodes {
		if !node.Ignored {
			found = append(found, node.BackendDOMNodeID)
		}
	}
	return found, nil
}

// press clicks the button of a name.
func (p *person) press(name string) {
	p.t.Helper()
	p.click("button", name, 1)
}

// follow clicks the link of a name.
func (p *person) follow(name string) {
	p.t.Helper()
	p.click("link", name, 1)
}

// click clicks with the mouse, where the element is, so that what covers it gets the click. A page that is drawn
// again at that moment is tried once more.
func (p *person) click(role, name string, times int) {
	p.t.Helper()
	testkit.Within(p.t, patience, fmt.Sprintf("click %s %q", role, name), func() error {
		node, err := p.lookFor(role, name)
		if err != nil {
			return err
		}
		x, y, err := p.place(node)
		if err != nil {
			return err
		}
		for n := range times {
			if _, err := chromedp.Run(p.ctx, chromedp.MouseClickXY(x, y, chromedp.ClickCount(n+1))); err != nil {
				return err
			}
		}
		return nil
	})
}

// place scrolls to an element and returns its middle, once it does not move: pages do while they load.
func (p *person) place(node cdp.BackendNodeID) (x, y float64, err error) {
	x, y, err = p.middle(node)
	if err != nil {
		return 0, 0, err
	}
	if _, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](`new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(() => drawn(true))))`, chromedp.EvalAwaitPromise)); err != nil {
		return 0, 0, err
	}
	again, below, err := p.middle(node)
	if err != nil {
		return 0, 0, err
	}
	return x, y, testkit.Unless(x == again && y == below, "it moves")
}

func (p *person) middle(node cdp.BackendNodeID) (x, y float64, err error) {
	if _, err := chromedp.Call(p.ctx, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{BackendNodeID: node}); err != nil {
		return 0, 0, err
	}
	quads, err := chromedp.Call(p.ctx, dom.GetContentQuads, dom.GetContentQuadsParams{BackendNodeID: node})
	if err != nil {
		return 0, 0, err
	}
	if len(quads.Quads) == 0 || len(quads.Quads[0]) != 8 {
		return 0, 0, errors.New("it is nowhere to be seen")
	}
	q := quads.Quads[0]
	return (q[0] + q[2] + q[4] + q[6]) / 4, (q[1] + q[3] + q[5] + q[7]) / 4, nil
}

// fill writes into the field of a name, in place of what it has.
func (p *person) fill(name, text string) {
	p.t.Helper()
	p.write("textbox", name, text)
}

// write is fill for a field of any role.
func (p *person) write(role, name, text string) {
	p.t.Helper()
	testkit.Within(p.t, patience, fmt.Sprintf("fill %s %q", role, name), func() error {
		node, err := p.lookFor(role, name)
		if err != nil {
			return err
		}
		if _, err := chromedp.Call(p.ctx, dom.Focus, dom.FocusParams{BackendNodeID: node}); err != nil {
			return err
		}
		if _, err := chromedp.Run(p.ctx, chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl))); err != nil {
			return err
		}
		_, err = chromedp.Call(p.ctx, input.InsertText, input.InsertTextParams{Text: text})
		return err
	})
}

// choose selects an option of a list by its text.
func (p *person) choose(name, option string) {
	p.t.Helper()
	node := p.find("combobox", name)
	object := call(p, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: node})
	chosen := run(p.t, p.ctx, chromedp.CallFunctionOn[bool](`function (text) {
		const option = [...this.options].find(o => o.text === text);
		if (!option) return false;
		this.value = option.value;
		this.dispatchEvent(new Event("input", {bubbles: true}));
		this.dispatchEvent(new Event("change", {bubbles: true}));
		return true;
	}`, func(params *runtime.CallFunctionOnParams) { params.ObjectID = object.Object.ObjectID }, option))
	if !chosen {
		p.t.Fatalf("%s has no option %q", name, option)
	}
}

// text is what is to be read on the page, one line after the other.
func (p *person) text() string {
	text, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.body?.innerText ?? ""`))
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(text), " ")
}

// reads waits until all of the texts are to be read.
func (p *person) reads(texts ...string) {
	p.t.Helper()
	testkit.Within(p.t, patience, fmt.Sprintf("%q to be read", texts), func() error {
		text := p.text()
		for _, one := range texts {
			if !strings.Contains(text, one) {
				return fmt.Errorf("no %q in: %s", one, text)
			}
		}
		return nil
	})
}

// readsNoMore waits until a text is gone.
func (p *person) readsNoMore(gone string) {
	p.t.Helper()
	testkit.Within(p.t, patience, fmt.Sprintf("%q to be gone", gone), func() error {
		text := p.text()
		return testkit.Unless(!strings.Contains(text, gone), "still there: %s", text)
	})
}

// settle waits until a page has what it asked for, or says that it has not.
func (p *person) settle() {
	p.t.Helper()
	testkit.Within(p.t, patience, "the page to be loaded", func() error {
		if nodes, err := p.all("heading", ""); err != nil || len(nodes) == 0 {
			return fmt.Errorf("no heading: %w", err)
		}
		text := p.text()
		return testkit.Unless(!strings.Contains(text, "Loading…") && !strings.Contains(text, "Looking…"), "%s", text)
	})
}

// fact waits until what stands beside a term is want.
func (p *person) fact(term, want string) {
	p.t.Helper()
	testkit.Within(p.t, patience, fmt.Sprintf("%s to be %q", term, want), func() error {
		got, err := p.factNow(term)
		if err != nil {
			return err
		}
		return testkit.Unless(strings.Contains(got, want), "it is %q", got)
	})
}

func (p *person) factNow(term string) (string, error) {
	return chromedp.Run(p.ctx, chromedp.Evaluate[string](fmt.Sprintf(`(() => {
		const term = [...document.querySelectorAll("dt")].find(e => e.innerText.trim() === %q);
		return term?.nextElementSibling?.innerText.replace(/\s+/g, " ").trim() ?? "";
	})()`, term)))
}

// looks are the ways in which a page is looked at.
var looks = []struct {
	name          string
	scheme        string
	width, height int64
}{
	{"light", "light", 1280, 1100},
	{"dark", "dark", 1280, 1100},
	{"phone", "light", 390, 844},
}

// look takes a picture of a page in each way, and lets axe-core judge it there: contrasts differ, and so does what is shown.
func (p *person) look(name string) {
	p.t.Helper()
	for _, l := range looks {
		call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: l.scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		do(p.t, p.ctx, chromedp.EmulateViewport(l.width, l.height))
		// Plots are drawn again for another width.
		testkit.Within(p.t, patience, name+", "+l.name+", to be no wider than the screen", func() error {
			wider, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](`document.documentElement.scrollWidth - innerWidth`))
			return testkit.Unless(err == nil && wider <= 0, "%d pixels wider, %v", wider, err)
		})
		for _, violation := range p.judge() {
			p.t.Errorf("%s, %s: %s", name, l.name, violation)
		}
		run(p.t, p.ctx, chromedp.Evaluate[bool](`scrollTo(0, 0), true`))
		picture := call(p, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{Format: "webp", Quality: new(int64(80))})
		if err := os.WriteFile(filepath.Join(p.t.ArtifactDir(), name+"-"+l.name+".webp"), picture.Data, 0o600); err != nil {
			p.t.Error(err)
		}
	}
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{})
	do(p.t, p.ctx, chromedp.EmulateViewport(looks[0].width, looks[0].height))
}

// judge is what axe-core finds on the page as it is, of any severity.
func (p *person) judge() []string {
	p.t.Helper()
	return run(p.t, p.ctx, chromedp.Evaluate[[]string](axeCore(p.t)+`;
		axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.flatMap(v =>
			v.nodes.map(n => v.impact + ": " + v.id + ": " + n.target.join(" ") + ": " + n.failureSummary)))`, chromedp.EvalAwaitPromise))
}

// axeCore is the source of axe-core, as package-lock.json pins it.
var axeCore = func() func(t *testing.T) string {
	var once sync.Once
	var source []byte
	var err error
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() {
			var root, dir string
			if root, err = stack.Workspace(); err != nil {
				return
			}
			if dir, err = os.MkdirTemp("", "axe"); err != nil {
				return
			}
			defer func() { _ = os.RemoveAll(dir) }()
			for _, name := range []string{"package.json", "package-lock.json"} {
				var file []byte
				if file, err = os.ReadFile(filepath.Join(root, "local", "browser", name)); err != nil {
					return
				}
				if err = os.WriteFile(filepath.Join(dir, name), file, 0o600); err != nil {
					return
				}
			}
			install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
			install.Dir = dir
			if output, failed := install.CombinedOutput(); failed != nil {
				err = fmt.Errorf("npm ci: %w\n%s", failed, output)
				return
			}
			source, err = os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(source)
	}
}()

func call[P, R any](p *person, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	result, err := chromedp.Call(p.ctx, command, params)
	if err != nil {
		p.t.Fatal(err)
	}
	return result
}

// gateway stands between browser and api, as a load balancer does, and fails as one does: Cut and Open are the network's.
type gateway struct {
	*testkit.Proxy

	mu     sync.Mutex
	fault  http.HandlerFunc // answers in the api's place what matches; nil: nothing
	match  string           // method and path, or the beginning of them
	sent   []sentRequest    // what changes something
	poison string           // is appended to every text of an answer that is no id, time or currency
}

type sentRequest struct{ method, path, idempotencyKey string }

func newGateway(t *testing.T, apiURL string) *gateway {
	t.Helper()
	address, err := url.Parse(apiURL)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{}
	api := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(address) },
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ModifyResponse: g.poisoned,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := g.take(r); fault != nil {
			fault(w, r)
			return
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(server.CloseClientConnections)
	g.Proxy = testkit.NewProxy(t, server.URL)
	g.Open(t)
	return g
}

func (g *gateway) take(r *http.Request) http.HandlerFunc {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Method != http.MethodGet {
		g.sent = append(g.sent, sentRequest{r.Method, r.URL.Path, r.Header.Get("Idempotency-Key")})
	}
	if g.fault != nil && strings.HasPrefix(r.Method+" "+r.URL.Path, g.match) {
		return g.fault
	}
	return nil
}

// answer lets a fault answer what matches from now on; nil: the api does again.
func (g *gateway) answer(match string, fault http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.match, g.fault = match, fault
}

// changes are the requests since the last call that change something.
func (g *gateway) changes() []sentRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	sent := g.sent
	g.sent = nil
	return sent
}

// poisoned appends the poison to the texts of an answer: whatever field a client, or an api that somebody has broken into,
// may write to.
func (g *gateway) poisoned(answer *http.Response) error {
	g.mu.Lock()
	poison := g.poison
	g.mu.Unlock()
	if poison == "" || !strings.Contains(answer.Header.Get("Content-Type"), "json") {
		return nil
	}
	var document any
	if err := json.NewDecoder(answer.Body).Decode(&document); err != nil {
		return err
	}
	body, err := json.Marshal(poisonedValue("", document, poison))
	if err != nil {
		return err
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	answer.ContentLength = int64(len(body))
	answer.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// Without these a page would find nothing to show.
var (
	unpoisoned = regexp.MustCompile(`^(id|at|since|.*[iI]d|.*At|currency|logBegins|previousSecretUntil)$`)
	scopes     = "scopes"
)

func poisonedValue(name string, value any, poison string) any {
	switch v := value.(type) {
	case string:
		if unpoisoned.MatchString(name) {
			return v
		}
		return v + poison
	case []any:
		for i := range v {
			v[i] = poisonedValue(name, v[i], poison)
		}
		if name == scopes { // the key has its own ones still
			for _, scope := range slices.Clone(v) {
				v = append(v, strings.TrimSuffix(scope.(string), poison))
			}
		}
		return v
	case map[string]any:
		poisoned := map[string]any{}
		for key, inner := range v {
			if name == "metadata" || name == "processes" {
				poisoned[key+poison] = poisonedValue("", inner, poison)
			} else {
				poisoned[key] = poisonedValue(key, inner, poison)
			}
		}
		return poisoned
	default:
		return v
	}
}

func (g *gateway) setPoison(poison string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.poison = poison
}
