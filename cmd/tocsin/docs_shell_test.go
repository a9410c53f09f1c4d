package main

import (
	"cmp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/seed91453169/tocsin/internal/fakesecobserve"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/internal/testenv/program"
)

// notRun are the command lines of the manual that TestDocsRun does not run, by words in them, and the reason.
var notRun = map[string]string{
	"go run ./cmd/tocsin demo":         "TestDemo runs it",
	"go run ./internal/testenv/with":   "it runs tests",
	"go get github.com/standard-webho": "it needs the network",
	"docker compose":                   "it needs Docker",
	"goreleaser":                       "it needs syft, and takes minutes",
	"make test":                        "it runs all tests",
	"make lint":                        "it takes minutes",
	"make fmt":                         "it changes the repository",
	"make fuzz":                        "it runs tests",
	"make torture":                     "it runs tests",
	"make generate":                    "it changes the repository",
	"make openapi":                     "it takes minutes",
	"make screenshots":                 "it changes the repository",
	"make bench":                       "it measures for an hour",
	"make verify":                      "it runs all tests",
	"make vuln":                        "it needs the network",
}

// readElsewhere are the tests that read the blocks of other languages.
var readElsewhere = map[string]string{
	"go": "TestDocsGo, TestReceiversInDocs", "python": "TestReceiversInDocs", "nginx": "TestBehindProxies", "caddy": "TestBehindProxies",
	"yaml": "TestAlertRules", "http": "no command", "text": "no command",
}

// pagesRun are the pages whose command lines one shell runs, in this order.
var pagesRun = []string{
	"README.md", "docs/reporting.md", "docs/recipients.md", "docs/access.md", "docs/subscriptions.md", "docs/keys.md", "docs/proxy.md",
	"docs/channels.md", "docs/secobserve.md", "docs/databases.md", "docs/operations.md", "docs/backup.md", "docs/upgrade.md",
}

// between is what a reader does that is no command line: by words in the block, what comes before it and after it.
var between = map[string][2]string{
	"./tocsin serve":                   {"", " & ready; TOKEN=$TOCSIN_ADMIN_TOKEN"},
	"https://tickets.example/":         {"api -X PUT localhost:8080/api/v1/products/7 -d '{\"name\": \"Shop\"}'", ""},
	"MAILGUN_API_BASE":                 {"(", "\nconfigured)"},
	"TOCSIN_OIDC_ISSUER":               {"(", "\nconfigured)"},
	"createuser --pwprompt":            {"stop", ""},
	"createdb --owner=tocsin tocsin  ": {"stop; dropdb tocsin", ""},
	// The processes of the backup count as alive for half a minute.
	"tocsin migrate down --yes": {"stop; psql -qd \"$DATABASE_URL\" -c 'TRUNCATE processes'", ""},
}

var (
	code        = regexp.MustCompile("(?ms)^ *```(\\w*)\n(.*?)^ *```|`([^`\n]+)`")
	assignments = regexp.MustCompile(`^([A-Z_]+=\S+ )+`)
	programs    = []string{
		"apt", "apt-get", "createdb", "createuser", "curl", "docker", "dpkg", "git", "go", "goreleaser", "make", "npx", "openssl", "pg_dump",
		"pg_restore", "promtool", "psql", "python3", "redis-cli", "sqlite3", "systemctl", "trivy",
	}
)

// commandLines are the shell examples of a page, and the command lines in its sentences; those of tocsin are left to
// TestDocsCommands there.
func commandLines(t *testing.T, name, page string) (list []string) {
	t.Helper()
	for _, m := range code.FindAllStringSubmatch(page, -1) {
		language, block, span := m[1], m[2], m[3]
		program, arguments, _ := strings.Cut(assignments.ReplaceAllString(span, ""), " ")
		switch {
		case block == "" && slices.Contains(programs, program) && arguments != "":
			list = append(list, span)
		case language == "sh":
			list = append(list, strings.TrimSpace(block))
		case block != "" && readElsewhere[language] == "":
			t.Errorf("%s: no test reads a block of the language %q", name, language)
		}
	}
	return list
}

// TestDocsRun pastes the command lines of the manual into one shell, in this order: first beside "tocsin serve", then beside the
// roles. Only names of hosts and secrets are replaced.
func TestDocsRun(t *testing.T) {
	t.Parallel()
	pages, used := manual(t), map[string]bool{}
	delete(pages, "CHANGELOG.md") // what was once
	var script strings.Builder
	for _, name := range pagesRun {
		for _, block := range commandLines(t, name, pages[name]) {
			if words := contained(block, notRun); words != "" {
				used[words] = true
				continue
			}
			words := contained(block, between)
			used[words] = true
			around := between[words]
			script.WriteString("\necho == " + name + "\n" + around[0] + "\n" + block + around[1] + "\n")
		}
		delete(pages, name)
	}
	for name, page := range pages {
		for _, block := range commandLines(t, name, page) {
			words := contained(block, notRun)
			if used[words] = true; words == "" {
				t.Errorf("nothing runs this, of %s:\n%s", name, block)
			}
		}
	}
	for words := range notRun {
		if !used[words] {
			t.Errorf("no page has %q", words)
		}
	}
	for words := range between {
		if !used[words] {
			t.Errorf("no page that is run has %q", words)
		}
	}
	d := newDeployment(t)
	out := d.shell(script.String())
	for _, want := range []string{`"Critical"`, `{"received":1,"changed":1,"unchanged":0}`, `"outbox":0`, `"matches":true`} {
		if !strings.Contains(strings.ReplaceAll(out, `": `, `":`), want) {
			t.Errorf("the output lacks %s:\n%s", want, out)
		}
	}
	if !slices.ContainsFunc(d.network.all(), func(m receivedMessage) bool { return m.Channel == "slack" }) {
		t.Errorf("no message of the first steps arrives: %v", d.network.all())
	}
}

// contained is the key of a map that a block contains.
func contained[T any](block string, of map[string]T) string {
	for words := range of {
		if strings.Contains(block, words) {
			return words
		}
	}
	return ""
}

// shell runs a script as a user with an empty folder does who has PostgreSQL, Redis, a mail server, Slack and SecObserve elsewhere.
func (d *deployment) shell(script string) (output string) {
	t := d.t
	folder, address := t.TempDir(), strings.TrimPrefix(d.url, "http://")
	binary, err := program.Binary()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	postgres, err := url.Parse(testenv.Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	secObserve, _ := newSecObserve(t, d.network.URL+"/slack/secobserve")
	redis := testenv.Redis(t).URL()
	database := *postgres
	database.User, database.Path = url.UserPassword("tocsin", "password"), "/tocsin"
	script = strings.NewReplacer(
		"go build ./cmd/tocsin", "ln -s "+binary+" tocsin",
		"https://tocsin.example/", "http://"+address+"/", "localhost:8080", address, "127.0.0.1:8080", address,
		"https://hooks.slack.com/services/", d.network.URL+"/slack/",
		"user:password@mail.example.com:587", d.network.smtp,
		"https://api.eu.mailgun.net", d.network.URL,
		"https://login.example.com", d.network.URL,
		"https://secobserve-backend.example.com", secObserve.URL, "TOCSIN_SECOBSERVE_TOKEN=…", "TOCSIN_SECOBSERVE_TOKEN="+fakesecobserve.Token,
		"TOCSIN_TOKEN=…", "TOCSIN_TOKEN=$TOCSIN_ADMIN_TOKEN",
		"postgres://tocsin:password@db:5432/tocsin", "'"+database.String()+"'",
		"-u redis://redis:6379", "-u "+redis,
		"redis://redis:6379", strings.Replace(redis, "redis://", "redis://tocsin:password@", 1),
		"tocsin migrate down\n", "tocsin migrate down || [ $? = 1 ]\n",
		"--pwprompt tocsin", "--pwprompt tocsin <<<$'password\\npassword'",
	).Replace(script)
	line := `{"id": 2, "product_id": 1, "title": "CVE-2026-2", "severity": "High", "status": "Open", "priority": 1, "parser_type": "SCA"}`
	for name, text := range map[string]string{
		"observations.ndjson": line + "\n",
		"trivy":               "#!/bin/sh\ncat " + root + "/examples/webtier/trivy/report.json\n",
		"prelude.sh": `set -eo pipefail
ready() { for _ in $(seq 300); do curl -sf ` + d.url + `/readyz >/dev/null && return; sleep 0.1; done; echo "not ready" >&2; return 1; }
stop() { [ -z "$(jobs -p)" ] || kill $(jobs -p); wait; }
configured() { tocsin check >/dev/null || [ $? = 1 ]; }
trap stop EXIT
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
`,
	} {
		if err := os.WriteFile(folder+"/"+name, []byte(text), 0o700); err != nil { // it is run
			t.Fatal(err)
		}
	}
	if err := os.Symlink(root+"/examples", folder+"/examples"); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", ". ./prelude.sh\n"+script) // #nosec G204 -- the manual
	shell.Dir = folder
	shell.Env = append(os.Environ(), d.env[0], "TOCSIN_WEBHOOK_ALLOWED_NETWORKS=127.0.0.0/8", "TOCSIN_SLACK_RATE=0", "TOCSIN_LOG_LEVEL=warn",
		"PATH="+folder+":"+filepath.Dir(testenv.Python(t))+":"+os.ExpandEnv("$PATH"), "PYTHONDONTWRITEBYTECODE=1",
		"PGHOST="+cmp.Or(postgres.Query().Get("host"), postgres.Hostname()), "PGPORT="+cmp.Or(postgres.Query().Get("port"), postgres.Port()),
		"PGUSER="+postgres.User.Username())
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal, passwords are read from standard input
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	out, err := shell.CombinedOutput()
	if err != nil || strings.Contains(string(out), `"status":4`) || strings.Contains(string(out), "curl:") {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestDocsGo compiles the examples of docs/go.md as one function of a web tier.
func TestDocsGo(t *testing.T) {
	t.Parallel()
	source := `package example

import (
	"context"
	"database/sql"
	"net/http"

	"github.com/redis/go-redis/v9"

	"github.com/seed91453169/tocsin/tasks"
)

func example(ctx context.Context, db *sql.DB, redisClient redis.UniversalClient, productID int64, passed bool, mux *http.ServeMux) (_ http.Handler, err error) {
`
	for _, m := range code.FindAllStringSubmatch(manual(t)["docs/go.md"], -1) {
		if m[1] == "go" {
			source += m[2]
		}
	}
	file := t.TempDir() + "/example.go"
	if err := os.WriteFile(file, []byte(source+"\treturn handler, err\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", file).CombinedOutput(); err != nil { // #nosec G204 -- the manual
		t.Errorf("%v\n%s", err, out)
	}
}
