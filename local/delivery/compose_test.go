// Package delivery checks what is shipped around the services, without a Docker engine: that
// compose.yaml means what it should, that the images build from what their recipe copies, and that
// config.env says what the services read.
package delivery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"
	"go.yaml.in/yaml/v4"

	"github.com/legendary-wallet/legendary-wallet/db/testdb"
)

const root = "../.."

// pinned is an image with a tag that names one release: registry/name:1.2.3, or 1.2 where there is
// no third number, with or without a variant.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:v?[0-9]+\.[0-9]+(\.[0-9]+)?(-[a-z0-9.]+)?$`)

// images are the programs that the Dockerfile builds, by the compose services that run them.
var images = map[string]string{"api": "api", "relay": "relay", "worker": "worker", "hooks": "hooks", "topic": "ctl", "ctl": "ctl", "migrate": "ctl"}

// load reads compose.yaml as `docker compose` does where nothing but env is set.
func load(t *testing.T, env ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions(
		[]string{filepath.Join(root, "compose.yaml")}, cli.WithEnv(env), cli.WithResolvedPaths(true), cli.WithProfiles([]string{"operator", "observability"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestComposeImagesArePinnedByVersion(t *testing.T) {
	t.Parallel()
	for name, service := range load(t).Services {
		switch {
		case images[name] != "":
			if arg := service.Build.Args["SERVICE"]; arg == nil || *arg != images[name] {
				t.Errorf("%s: is not built from %s", name, images[name])
			}
		case !pinned.MatchString(service.Image):
			t.Errorf("%s: image %q is not pinned", name, service.Image)
		}
	}
}

func TestComposeSetsOnlyWhatTheServicesRead(t *testing.T) {
	t.Parallel()
	project := load(t)
	for name, program := range images {
		reads := settings(t, program)
		for variable := range project.Services[name].Environment {
			_, ok := reads[variable]
			for _, setting := range reads {
				ok = ok || setting.Was == variable
			}
			if !ok {
				t.Errorf("%s: %s is set, but %s does not read it", name, variable, program)
			}
		}
		for variable, setting := range reads {
			if _, set := project.Services[name].Environment[variable]; !set && setting.Required {
				t.Errorf("%s: %s is required, but not set", name, variable)
			}
		}
	}
}

func TestComposePublishesOnlyTheAPIAndToThisMachineWhatIsToBeLookedAt(t *testing.T) {
	t.Parallel()
	for name, service := range load(t).Services {
		observed := slices.Equal(service.Profiles, []string{"observability"})
		if name != "api" && len(service.Ports) > 0 && !observed || service.NetworkMode != "" {
			t.Errorf("%s publishes %v, network mode %q", name, service.Ports, service.NetworkMode)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s publishes port %d to others than this machine", name, port.Target)
			}
		}
	}
	ports := load(t, "API_PORT=18080").Services["api"].Ports
	if len(ports) != 1 || ports[0].Target != 8080 || ports[0].Published != "18080" || ports[0].HostIP != "127.0.0.1" {
		t.Errorf("api publishes %+v, want 8080 of this host alone", ports)
	}
}

// What the profile observability is configured with is there, and names what is in compose.yaml.
func TestComposeObservesTheServicesThatItRuns(t *testing.T) {
	t.Parallel()
	project := load(t)
	for name, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(volume.Source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	read := func(path string, into any) {
		text, err := os.ReadFile(filepath.Join(root, "deploy", path))
		if err == nil {
			err = yaml.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var prometheus struct {
		Jobs []struct {
			Name string `yaml:"job_name"`
			DNS  []struct {
				Names []string `yaml:"names"`
				Port  int      `yaml:"port"`
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	read("prometheus/prometheus.yml", &prometheus)
	var jobs []string
	for _, job := range prometheus.Jobs {
		jobs = append(jobs, job.Name)
		if len(job.DNS) != 1 || !slices.Equal(job.DNS[0].Names, []string{job.Name}) || job.DNS[0].Port != 9080 {
			t.Errorf("%s is scraped at %+v, not at its admin port", job.Name, job.DNS)
		}
	}
	if !slices.Equal(jobs, []string{"api", "relay", "worker", "hooks"}) {
		t.Errorf("jobs %q", jobs)
	}
	var grafana struct {
		Sources []struct {
			UID string `yaml:"uid"`
			URL string `yaml:"url"`
		} `yaml:"datasources"`
	}
	read("grafana/provisioning/datasources/datasources.yml", &grafana)
	for _, source := range grafana.Sources {
		ports := project.Services[source.UID].Ports
		if len(ports) != 1 || source.URL != fmt.Sprintf("http://%s:%d", source.UID, ports[0].Target) {
			t.Errorf("Grafana asks %s at %s", source.UID, source.URL)
		}
	}
}

// Each step waits for the ones it needs to have ended well, each server to be healthy.
func TestComposeStartsInOrder(t *testing.T) {
	t.Parallel()
	const done, healthy = types.ServiceConditionCompletedSuccessfully, types.ServiceConditionHealthy
	services := load(t).Services
	for name, want := range map[string]map[string]string{
		"migrate": {"postgres": healthy},
		"logins":  {"migrate": done},
		"topic":   {"migrate": done, "kafka": healthy},
		"api":     {"logins": done, "topic": done, "redis": healthy},
		"relay":   {"logins": done, "topic": done},
		"worker":  {"logins": done, "topic": done, "redis": healthy},
		"hooks":   {"logins": done, "topic": done},
	} {
		for needed, condition := range want {
			if got := services[name].DependsOn[needed].Condition; got != condition {
				t.Errorf("%s waits for %s: %q, want %q", name, needed, got, condition)
			}
			if condition == healthy && services[needed].HealthCheck == nil {
				t.Errorf("%s has no health check", needed)
			}
		}
	}
}

func TestComposeServicesAreLockedUpAndRestarted(t *testing.T) {
	t.Parallel()
	for name, service := range load(t).Services {
		if images[name] == "" {
			continue
		}
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) ||
			!slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read_only %v, cap_drop %v, security_opt %v", name, service.ReadOnly, service.CapDrop, service.SecurityOpt)
		}
		if images[name] == "ctl" {
			continue
		}
		if service.Restart != types.RestartPolicyUnlessStopped || service.HealthCheck == nil {
			t.Errorf("%s: restart %q, health check %v", name, service.Restart, service.HealthCheck)
		}
	}
}

// A password changed in .env takes effect at the next start.
func TestComposeLoginsGetTheirRoleAndPassword(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile(filepath.Join(root, "deploy/logins.sql"))
	if err != nil {
		t.Fatal(err)
	}
	database := testdb.New(t)
	logins := []string{"api", "relay", "worker", "hooks"}
	t.Cleanup(func() {
		for _, login := range logins {
			execute(t, database.URL, nil, "DROP ROLE "+login)
		}
	})
	for _, password := range []string{"first", "it's second"} {
		passwords := map[string]string{}
		for _, login := range logins {
			passwords["password."+login] = password
		}
		execute(t, database.URL, passwords, string(script))
		for _, login := range logins {
			config, err := pgx.ParseConfig(database.URL)
			if err != nil {
				t.Fatal(err)
			}
			config.User, config.Password = login, password
			conn, err := pgx.ConnectConfig(t.Context(), config)
			if err != nil {
				t.Fatalf("%s with password %q: %v", login, password, err)
			}
			var member bool
			if err := conn.QueryRow(t.Context(), "SELECT pg_has_role('wallet_' || session_user, 'USAGE')").Scan(&member); err != nil || !member {
				t.Errorf("%s acts as wallet_%[1]s: %v, %v", login, member, err)
			}
			_ = conn.Close(t.Context())
		}
	}
}

// The server refuses to start with a setting that it does not know.
func TestComposePostgresSettingsExist(t *testing.T) {
	t.Parallel()
	conn := testdb.New(t).Conn(t)
	setting := regexp.MustCompile(`^-c([a-z_]+)=`)
	command := load(t).Services["postgres"].Command
	for _, argument := range command[1:] {
		match := setting.FindStringSubmatch(argument)
		if match == nil {
			t.Errorf("%q is not -cname=value", argument)
			continue
		}
		var exists bool
		if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_settings WHERE name = $1)", match[1]).Scan(&exists); err != nil || !exists {
			t.Errorf("%s exists: %v, %v", match[1], exists, err)
		}
	}
}

func execute(t *testing.T, url string, session map[string]string, sql string) {
	t.Helper()
	ctx := context.Background()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range session {
		config.RuntimeParams[name] = value
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}
