package delivery

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/template"
	"github.com/legendary-wallet/legendary-wallet/service"
	"go.yaml.in/yaml/v4"
)

// config.env is written from what the programs say of their settings.
func TestConfigEnvSaysWhatTheServicesRead(t *testing.T) {
	t.Parallel()
	documented := configEnv(t)
	for _, program := range []string{"api", "relay", "worker", "hooks", "ctl"} {
		reads := settings(t, program)
		for name, setting := range reads {
			if said, ok := documented[program][name]; !ok || said != setting.Default+setting.Example {
				t.Errorf("%s: %s is %q in config.env, and %+v by --settings: make generate", program, name, said, setting)
			}
		}
		for name := range documented[program] {
			if _, ok := reads[name]; !ok {
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
		for _, program := range []string{"api", "worker"} { // TOPIC and EVENTS_TOPIC, which the topic step needs too
			if !ok {
				said, ok = documented[program][name]
			}
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
	for _, program := range []string{"api", "relay", "worker", "hooks", "ctl"} {
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
			if got := without[name]; got != nil && name != "HOOKS_KEY" { // which has a default for development, as the passwords have
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

// settings are what a program says that it reads. What stands for many settings is left out.
func settings(t *testing.T, program string) map[string]service.Setting {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "run", "./"+program, "--settings")
	command.Dir = root
	text, err := command.Output()
	if err != nil {
		t.Fatalf("%s --settings: %v", program, err)
	}
	var declared []service.Setting
	if err := json.Unmarshal(text, &declared); err != nil || len(declared) == 0 {
		t.Fatalf("%s --settings: %v\n%s", program, err, text)
	}
	reads := map[string]service.Setting{}
	for _, s := range declared {
		if !strings.HasSuffix(s.Name, "*") {
			reads[s.Name] = s
		}
	}
	return reads
}
