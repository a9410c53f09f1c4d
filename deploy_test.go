// Package tocsin_test checks that the files for running Tocsin agree with the program.
package tocsin_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/seed91453169/tocsin/config"
)

// commands are the ones of the manual that run without further words.
var commands = []string{
	"serve", "demo", "web", "worker", "scheduler", "migrate up", "migrate down", "migrate status",
	"user list", "token list", "check", "health", "version", "help", "man",
}

type compose struct {
	Services map[string]struct {
		Build       string            `yaml:"build"`
		Command     []string          `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Secrets     []string          `yaml:"secrets"`
		ReadOnly    bool              `yaml:"read_only"`
		DependsOn   map[string]struct {
			Condition string `yaml:"condition"`
		} `yaml:"depends_on"`
		Healthcheck struct {
			Test []string `yaml:"test"`
		} `yaml:"healthcheck"`
		Volumes []string `yaml:"volumes"`
	} `yaml:"services"`
	Volumes map[string]any `yaml:"volumes"`
	Secrets map[string]struct {
		File string `yaml:"file"`
	} `yaml:"secrets"`
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// interpolate does what Compose does with ${NAME:?message} and ${NAME:-default}; what must be given is.
func interpolate(t *testing.T, value string) string {
	t.Helper()
	return regexp.MustCompile(`\$\{(\w+)(:[?-])([^}]*)\}`).ReplaceAllStringFunc(value, func(s string) string {
		name, rest, _ := strings.Cut(strings.Trim(s, "${}"), ":")
		if rest, ok := strings.CutPrefix(rest, "-"); ok {
			return rest
		}
		t.Errorf("%s must be given, and no document says so", name)
		return ""
	})
}

func TestCompose(t *testing.T) {
	t.Parallel()
	var file compose
	// What stands beside a merge key overrides it; this library takes that for a duplicate.
	text := read(t, "compose.yaml")
	if err := yaml.UnmarshalWithOptions([]byte(text), &file, yaml.AllowDuplicateMapKey()); err != nil {
		t.Fatal(err)
	}
	var roles []string
	for name, service := range file.Services {
		for on, how := range service.DependsOn {
			other, ok := file.Services[on]
			switch {
			case !ok:
				t.Errorf("%s depends on %s, which is not there", name, on)
			case how.Condition == "service_healthy" && other.Healthcheck.Test == nil:
				t.Errorf("%s waits for the health of %s, which has no check", name, on)
			}
		}
		for _, volume := range service.Volumes {
			volume, _, _ = strings.Cut(volume, ":")
			if strings.HasPrefix(volume, "./") {
				if _, err := os.Stat(volume); err != nil {
					t.Errorf("%s uses %s: %v", name, volume, err)
				}
				continue
			}
			if _, ok := file.Volumes[volume]; !ok {
				t.Errorf("%s uses the volume %s, which is not declared", name, volume)
			}
		}
		for _, secret := range service.Secrets {
			if file.Secrets[secret].File != "./secrets/"+secret || !strings.Contains(text, " > "+secret+"\n") {
				t.Errorf("%s uses the secret %s, which is not declared, or which no line of the comment makes", name, secret)
			}
		}
		if service.Build == "" {
			continue
		}
		if !service.ReadOnly {
			t.Errorf("%s may write anywhere", name)
		}
		command := strings.Join(service.Command, " ")
		if !slices.Contains(commands, command) {
			t.Errorf("%s runs %q, which is no command", name, command)
		}
		var env []string
		for name, value := range service.Environment {
			checkKnown(t, "compose.yaml", name)
			if secret, ok := strings.CutPrefix(value, "/run/secrets/"); ok {
				if !slices.Contains(service.Secrets, secret) {
					t.Errorf("%s is not given the secret %s", command, secret)
				}
				value = secretFile(t, secret)
			}
			env = append(env, name+"="+interpolate(t, value))
		}
		role := config.Role(service.Command[0])
		c, err := config.Load(role, env)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if (role == config.Worker || role == config.Scheduler) && c.MetricsListen == "" {
			t.Errorf("%s serves nothing that its health check could ask", name)
		}
		roles = append(roles, string(role))
	}
	slices.Sort(roles)
	if want := []string{"migrate", "scheduler", "web", "worker"}; !slices.Equal(roles, want) {
		t.Errorf("Compose runs %v, want %v", roles, want)
	}
}

// secretFile is a file as the comment of compose.yaml makes it.
func secretFile(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	text := map[string]string{
		"secret_key":   base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n",
		"database_url": "postgres://tocsin:0123456789abcdef@postgres:5432/tocsin?sslmode=disable\n",
	}[name]
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProcfile(t *testing.T) {
	t.Parallel()
	var types []string
	for line := range strings.Lines(read(t, "Procfile")) {
		kind, command, _ := strings.Cut(strings.TrimSpace(line), ": ")
		types = append(types, kind)
		command, ok := strings.CutPrefix(command, "tocsin ")
		if !ok || !slices.Contains(commands, command) {
			t.Errorf("%s runs %q, which is no command", kind, command)
		}
	}
	if want := []string{"release", "web", "worker", "scheduler"}; !slices.Equal(types, want) {
		t.Errorf("the Procfile has %v, want %v", types, want)
	}
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	names := regexp.MustCompile(`(?m)^ENV (.*)$`).FindAllStringSubmatch(read(t, "Dockerfile"), -1)
	if len(names) == 0 {
		t.Fatal("no ENV found")
	}
	for _, line := range names {
		for field := range strings.FieldsSeq(line[1]) {
			name, _, _ := strings.Cut(field, "=")
			checkKnown(t, "Dockerfile", name)
		}
	}
}

func checkKnown(t *testing.T, file, name string) {
	t.Helper()
	name = strings.TrimSuffix(name, "_FILE")
	if !slices.ContainsFunc(config.Variables(), func(v config.Variable) bool { return v.Name == name }) {
		t.Errorf("%s sets %s, which config does not read", file, name)
	}
}

// TestUnits: the units of systemd run commands that exist, with settings that config reads.
func TestUnits(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"tocsin.service": {"serve"}, "tocsin@.service": {"web", "worker", "scheduler"},
	} {
		text := read(t, "deploy/systemd/"+name)
		start := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/tocsin (.*)$`).FindStringSubmatch(text)
		if start == nil {
			t.Fatalf("%s starts nothing", name)
		}
		for _, role := range want {
			if command := strings.ReplaceAll(start[1], "%i", role); command != role || !slices.Contains(commands, command) {
				t.Errorf("%s runs %q instead of %q", name, command, role)
			}
		}
		for _, line := range regexp.MustCompile(`(?m)^Environment=(\w+)=`).FindAllStringSubmatch(text, -1) {
			checkKnown(t, name, line[1])
		}
		for _, hardening := range []string{"DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "SystemCallFilter=@system-service"} {
			if !strings.Contains(text, "\n"+hardening+"\n") {
				t.Errorf("%s lacks %s", name, hardening)
			}
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^#?(\w+)=`).FindAllStringSubmatch(read(t, "deploy/systemd/tocsin.env"), -1) {
		checkKnown(t, "tocsin.env", line[1])
	}
}

// TestPackages: what goreleaser packs is there, or a hook of its own makes it.
func TestPackages(t *testing.T) {
	t.Parallel()
	var file struct {
		Before struct{ Hooks []string }
		Builds []struct{ Main string }
		NFPMs  []struct {
			Contents []struct{ Src, Dst string }
		} `yaml:"nfpms"`
	}
	if err := yaml.Unmarshal([]byte(read(t, ".goreleaser.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Builds) != 1 || len(file.NFPMs) != 1 || len(file.NFPMs[0].Contents) == 0 {
		t.Fatalf("%+v", file)
	}
	sources := []string{file.Builds[0].Main}
	for _, c := range file.NFPMs[0].Contents {
		if !strings.HasPrefix(c.Src, "bin/package/") {
			sources = append(sources, c.Src)
		} else if base := strings.SplitN(c.Src, ".", 2); !strings.Contains(strings.Join(file.Before.Hooks, "\n"), base[0]+".") {
			t.Errorf("nothing makes %s", c.Src)
		}
	}
	for _, path := range sources {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
