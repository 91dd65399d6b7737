package delivery

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v4"
)

// What stands for the default of a setting that has none.
const (
	required = "(required)"
	optional = "(unset)"
)

func TestConfigEnvSaysWhatTheServicesRead(t *testing.T) {
	t.Parallel()
	documented := configEnv(t)
	for _, program := range []string{"api", "relay", "worker", "ctl"} {
		reads := settings(t, program)
		for name, value := range reads {
			switch said, ok := documented[program][name]; {
			case !ok:
				t.Errorf("%s reads %s, which config.env does not have for it", program, name)
			case value != required && value != optional && !sameValue(said, value):
				t.Errorf("%s: %s is %q in config.env, and by default %q", program, name, said, value)
			}
		}
		for name := range documented[program] {
			if _, ok := reads[name]; !ok && !strings.HasPrefix(name, "RDKAFKA_") {
				t.Errorf("config.env has %s for %s, which does not read it", name, program)
			}
		}
	}
}

func TestConfigEnvSaysWhatComposeReads(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	documented := configEnv(t)
	reads := template.ExtractVariables(document, template.DefaultPattern)
	for name, variable := range reads {
		said, ok := documented["docker compose"][name]
		if !ok {
			said, ok = documented["api"][name] // TOPIC, which the topic step needs too
		}
		if !ok || said != variable.DefaultValue {
			t.Errorf("%s is %q in config.env, and by default %q in compose.yaml", name, said, variable.DefaultValue)
		}
	}
	for name := range documented["docker compose"] {
		if _, ok := reads[name]; !ok {
			t.Errorf("config.env has %s, which compose.yaml does not read", name)
		}
	}
}

// What .env says reaches the services, apart from the addresses that compose.yaml fixes itself and
// the one name that no two workers may share.
func TestComposePassesEverySettingOn(t *testing.T) {
	t.Parallel()
	fixed := []string{"DATABASE_URL", "REDIS_URL", "KAFKA_BROKERS", "HTTP_ADDR", "ADMIN_ADDR", "GROUP_INSTANCE_ID"}
	for _, program := range []string{"api", "relay", "worker", "ctl"} {
		var names, env []string
		for name := range settings(t, program) {
			if !slices.Contains(fixed, name) {
				names, env = append(names, name), append(env, name+"=from-env")
			}
		}
		with, without := load(t, env...).Services[program].Environment, load(t).Services[program].Environment
		for _, name := range names {
			if got := with[name]; got == nil || *got != "from-env" {
				t.Errorf("%s in .env does not reach %s", name, program)
			}
			if got := without[name]; got != nil {
				t.Errorf("%s of %s is %q though .env does not set it", name, program, *got)
			}
		}
	}
}

// configEnv reads config.env: under "## api worker" stand settings of these two, as NAME=default,
// commented out.
func configEnv(t *testing.T) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "config.env"))
	if err != nil {
		t.Fatal(err)
	}
	setting := regexp.MustCompile(`^#([A-Z][A-Z0-9_]+)=(.*)$`)
	documented := map[string]map[string]string{}
	var programs []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			programs = strings.Fields(heading)
			if heading == "docker compose" {
				programs = []string{heading}
			}
			continue
		}
		match := setting.FindStringSubmatch(line)
		if match == nil {
			if line != "" && !strings.HasPrefix(line, "# ") && line != "#" {
				t.Errorf("config.env: %q is neither a comment nor a setting that is commented out", line)
			}
			continue
		}
		for _, program := range programs {
			if documented[program] == nil {
				documented[program] = map[string]string{}
			}
			documented[program][match[1]] = match[2]
		}
	}
	return documented
}

// sameValue is whether two texts mean the same: 24h and 24h0m0s do.
func sameValue(said, value string) bool {
	a, errA := time.ParseDuration(said)
	b, errB := time.ParseDuration(value)
	return said == value || errA == nil && errB == nil && a == b
}

// settings reads from a service's config.go, or from all of ctl, which variables it reads, and their
// defaults. A setting is read by a call with its name and its default, text("TOPIC", "operations");
// if it is required, by required("DATABASE_URL") or with an empty default; and if it is neither, as
// env["GROUP_INSTANCE_ID"].
func settings(t *testing.T, program string) map[string]string {
	t.Helper()
	pattern := "config.go"
	if program == "ctl" {
		pattern = "*.go"
	}
	files, err := filepath.Glob(filepath.Join(root, program, pattern))
	if err != nil {
		t.Fatal(err)
	}
	defaults, bare := map[string]string{}, map[string]string{}
	for _, file := range files {
		readSettings(t, file, defaults, bare)
	}
	if len(bare)+len(defaults) == 0 {
		t.Fatalf("%s reads its settings in a way that is not known here", program)
	}
	for name, value := range defaults {
		if value == "" {
			defaults[name] = required
		}
	}
	maps.Copy(bare, defaults)
	return bare
}

func readSettings(t *testing.T, path string, defaults, bare map[string]string) {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	evaluate := evaluator(t)
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.IndexExpr:
			if name, ok := variableName(node.Index); ok {
				bare[name] = optional
			}
		case *ast.CallExpr:
			if len(node.Args) == 0 {
				break
			}
			name, isVariable := variableName(node.Args[0])
			if !isVariable {
				break
			}
			if function, ok := node.Fun.(*ast.Ident); ok && function.Name == "required" {
				defaults[name] = ""
			} else if ok && function.Name == "optional" {
				bare[name] = optional
			}
			if len(node.Args) == 1 {
				break
			}
			value, isConstant := evaluate(string(source[node.Args[1].Pos()-file.FileStart : node.Args[1].End()-file.FileStart]))
			if isConstant {
				if earlier, again := defaults[name]; again && earlier != value {
					t.Errorf("%s: %s has two defaults, %q and %q", path, name, earlier, value)
				}
				defaults[name] = value
			}
		}
		return true
	})
}

var environmentName = regexp.MustCompile(`^"([A-Z][A-Z0-9_]+[A-Z0-9])"$`)

func variableName(e ast.Expr) (string, bool) {
	literal, ok := e.(*ast.BasicLit)
	if !ok {
		return "", false
	}
	match := environmentName.FindStringSubmatch(literal.Value)
	if match == nil {
		return "", false
	}
	return match[1], true
}

// evaluator returns a function that computes a constant expression, such as 5*time.Millisecond, as
// one would write it into the environment.
func evaluator(t *testing.T) func(expression string) (string, bool) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", "package p\n\nimport \"time\"\n\nvar _ time.Duration\n", 0)
	if err != nil {
		t.Fatal(err)
	}
	checker := types.Config{Importer: importer.Default()}
	pkg, err := checker.Check("p", fset, []*ast.File{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(expression string) (string, bool) {
		result, err := types.Eval(fset, pkg, file.FileEnd-1, expression)
		if err != nil || result.Value == nil {
			return "", false
		}
		switch value := constant.Val(result.Value).(type) {
		case string:
			return value, true
		case int64:
			if result.Type.String() == "time.Duration" {
				return time.Duration(value).String(), true
			}
			return fmt.Sprint(value), true
		default:
			return "", false
		}
	}
}
