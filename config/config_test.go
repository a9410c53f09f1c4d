package config_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/rule"
)

var (
	key32 = base64.StdEncoding.EncodeToString([]byte("\xff\xfe..key of thirty-two bytes....."))

	// What web, worker and scheduler need.
	required = []string{"DATABASE_URL=postgres://u:p@db/tocsin", "REDIS_URL=redis://cache:6379", "TOCSIN_SECRET_KEY=" + key32}
)

func load(t *testing.T, role config.Role, env ...string) *config.Config {
	t.Helper()
	c, err := config.Load(role, env)
	if err != nil {
		t.Fatalf("Load(%s): %v", role, err)
	}
	return c
}

func TestLoadDefaults(t *testing.T) {
	t.Parallel()
	want := &config.Config{
		Role:              config.Serve,
		Database:          config.Database{Driver: config.SQLite, DSN: "sqlite://tocsin-data/tocsin.db"},
		Listen:            "127.0.0.1:8080",
		BaseURL:           "http://127.0.0.1:8080",
		DataDir:           "tocsin-data",
		Rates:             map[rule.Channel]float64{rule.Email: 0, rule.MSTeams: 4, rule.Slack: 1, rule.Webhook: 0},
		WorkerConcurrency: 2 * runtime.NumCPU(),
		LogLevel:          zerolog.InfoLevel,
		ShutdownTimeout:   20 * time.Second,
	}
	got := load(t, config.Serve, "PATH=/bin", "TOCSIN_LISTEN=", "SMTP_URL= ")
	// The format follows what standard error of the test is.
	ignore := cmpopts.IgnoreFields(config.Config{}, "LogFormat")
	if diff := cmp.Diff(want, got, ignore, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
		t.Error(diff)
	}
}

func TestLoadEverything(t *testing.T) {
	t.Parallel()
	got := load(t, config.Web, append(required,
		"PORT=9000", "TOCSIN_METRICS_LISTEN=:9100", "TOCSIN_BASE_URL=https://tocsin.example/sub/",
		"TOCSIN_DATA_DIR=/var/lib/tocsin", "TOCSIN_SECRET_KEY_OLD="+strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(key32), "="),
		"TOCSIN_ADMIN_TOKEN=abcdefghijklmnopqrstuvwx",
		"MAILGUN_DOMAIN=mg.example.com", "MAILGUN_API_KEY=key-1", "MAILGUN_API_BASE=https://api.eu.mailgun.net/v3/",
		"SMTP_URL=smtp://mailpit:1025?tls=none",
		"TOCSIN_WEBHOOK_ALLOWED_NETWORKS=127.0.0.0/8, ::ffff:10.1.2.3/104,::1",
		"TOCSIN_SLACK_RATE=0.5", "TOCSIN_MS_TEAMS_RATE=0", "TOCSIN_EMAIL_RATE=10",
		"TOCSIN_WORKER_CONCURRENCY=3", "TOCSIN_MONITOR_WRITE=True",
		"TOCSIN_OIDC_ISSUER=https://login.example/", "TOCSIN_OIDC_CLIENT_ID=tocsin", "TOCSIN_OIDC_CLIENT_SECRET=s",
		"TOCSIN_LOG_LEVEL=DEBUG", "TOCSIN_LOG_FORMAT=console", "TOCSIN_SHUTDOWN_TIMEOUT=7")...)
	want := &config.Config{
		Role:          config.Web,
		Database:      config.Database{Driver: config.Postgres, DSN: "postgres://u:p@db/tocsin"},
		Listen:        ":9000",
		MetricsListen: ":9100",
		BaseURL:       "https://tocsin.example/sub",
		DataDir:       "/var/lib/tocsin",
		SecretKey:     []byte("\xff\xfe..key of thirty-two bytes....."),
		SecretKeyOld:  []byte("\xff\xfe..key of thirty-two bytes....."),
		AdminToken:    "abcdefghijklmnopqrstuvwx",
		Mailgun:       &config.Mailgun{Domain: "mg.example.com", APIKey: "key-1", APIBase: "https://api.eu.mailgun.net/v3"},
		SMTP:          &config.SMTP{Host: "mailpit", Port: 1025, TLS: config.TLSNone},
		OIDC:          &config.OIDC{Issuer: "https://login.example/", ClientID: "tocsin", ClientSecret: "s"},
		WebhookAllowedNetworks: []netip.Prefix{
			netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128"),
		},
		Rates:             map[rule.Channel]float64{rule.Email: 10, rule.MSTeams: 0, rule.Slack: 0.5, rule.Webhook: 0},
		WorkerConcurrency: 3,
		MonitorWrite:      true,
		LogLevel:          zerolog.DebugLevel,
		LogFormat:         config.Console,
		ShutdownTimeout:   7 * time.Second,
	}
	if got.Redis == nil || got.Redis.Addrs[0] != "cache:6379" {
		t.Errorf("Redis = %+v, want cache:6379", got.Redis)
	}
	opts := cmp.Options{
		cmpopts.IgnoreFields(config.Config{}, "Redis"), cmpopts.IgnoreUnexported(config.Config{}),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, opts); diff != "" {
		t.Error(diff)
	}
}

// TestLoadFaults also pins the texts: they are read by somebody who was woken up.
func TestLoadFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "endless")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		role config.Role
		env  []string
		want []string // the beginning of each line
	}{
		"nothing set": {config.Worker, nil, []string{
			"DATABASE_URL: is not set, and `tocsin worker` needs it: set it to postgres://",
			"REDIS_URL: is not set, and `tocsin worker` needs it: set it to redis://",
			"TOCSIN_SECRET_KEY: is not set, and `tocsin worker` needs it: give every process the same key",
		}},
		"nothing needed by serve":   {config.Serve, nil, nil},
		"nothing needed by migrate": {config.Migrate, nil, nil},
		"nothing needed by check":   {config.Check, nil, nil},
		"a faulty one is not missing too": {config.Web, []string{"DATABASE_URL=mysql://x", "REDIS_URL=redis://r", "TOCSIN_SECRET_KEY=" + key32}, []string{
			"DATABASE_URL: begins with neither postgres:// nor sqlite://",
		}},
		"all at once, in the order of the manual": {config.Serve, []string{
			"TOCSIN_SHUTDOWN_TIMEOUT=soon", "TOCSIN_LOG_LEVEL=loud", "TOCSIN_LOG_FORMAT=xml", "TOCSIN_MONITOR_WRITE=perhaps",
			"TOCSIN_WORKER_CONCURRENCY=0", "TOCSIN_SLACK_RATE=-1", "TOCSIN_EMAIL_RATE=NaN", "TOCSIN_MS_TEAMS_RATE=Inf",
			"TOCSIN_WEBHOOK_ALLOWED_NETWORKS=10.0.0.0/8,local", "TOCSIN_BASE_URL=tocsin.example", "PORT=http", "TOCSIN_LISTEN=8080",
		}, []string{
			`PORT: "http" is not a port: write a number`,
			`TOCSIN_LISTEN: "8080" is not an address to listen on: write host:port`,
			"TOCSIN_BASE_URL: is not a web address: write it like https://tocsin.example.com",
			`TOCSIN_WEBHOOK_ALLOWED_NETWORKS: "local" is not a network`,
			`TOCSIN_WORKER_CONCURRENCY: "0" is not a number`,
			`TOCSIN_MONITOR_WRITE: "perhaps" is neither true nor false`,
			`TOCSIN_LOG_LEVEL: "loud" is not a level`,
			`TOCSIN_LOG_FORMAT: "xml" is not a format`,
			`TOCSIN_SHUTDOWN_TIMEOUT: "soon" is not a time above zero`,
			`TOCSIN_EMAIL_RATE: "NaN" is not a rate`,
			`TOCSIN_MS_TEAMS_RATE: "Inf" is not a rate`,
			`TOCSIN_SLACK_RATE: "-1" is not a rate`,
		}},
		"half of a group": {config.Serve, []string{"MAILGUN_API_KEY=k", "TOCSIN_OIDC_CLIENT_ID=c"}, []string{
			"MAILGUN_DOMAIN: is not set, but MAILGUN_API_KEY is",
			"TOCSIN_OIDC_ISSUER: is not set, but TOCSIN_OIDC_CLIENT_ID is",
			"TOCSIN_OIDC_CLIENT_SECRET: is not set, but TOCSIN_OIDC_CLIENT_ID is",
		}},
		"a Mailgun region without an account": {config.Serve, []string{"MAILGUN_API_BASE=https://api.eu.mailgun.net"}, nil},
		"short keys": {config.Serve, []string{"TOCSIN_SECRET_KEY=c2hvcnQ=", "TOCSIN_SECRET_KEY_OLD=%%%", "TOCSIN_ADMIN_TOKEN=short"}, []string{
			"TOCSIN_SECRET_KEY: holds 5 bytes and must hold 32: make a key with `openssl rand -base64 32`",
			"TOCSIN_SECRET_KEY_OLD: is not base64",
			"TOCSIN_ADMIN_TOKEN: is 5 characters long and must be at least 24",
		}},
		"a token that no header carries": {config.Serve, []string{"TOCSIN_ADMIN_TOKEN=abcdefghijklmnop qrstuvwxyz"}, []string{
			"TOCSIN_ADMIN_TOKEN: has a space",
		}},
		"files": {config.Serve, []string{
			"TOCSIN_LOG_LEVEL=info", "TOCSIN_LOG_LEVEL_FILE=/x", "TOCSIN_DATA_DIR_FILE=/no/such", "SMTP_URL_FILE=/no/such", "REDIS_URL_FILE=" + dir + "/endless", "TOCSIN_BASE_URL_FILE=" + dir + "/empty",
		}, []string{
			`REDIS_URL_FILE: the file it names cannot be read (it is larger than 1 MiB)`,
			`TOCSIN_BASE_URL_FILE: the file it names is empty`,
			`TOCSIN_DATA_DIR_FILE: "/no/such" cannot be read (no such file or directory)`,
			`SMTP_URL_FILE: the file it names cannot be read (no such file or directory)`,
			`TOCSIN_LOG_LEVEL: is set, and TOCSIN_LOG_LEVEL_FILE too`,
		}},
		"slips": {config.Serve, []string{
			"TOCSIN_SECRET_KEYS=x", "TOCSIN_DATABASE_URL=x", "TOCSIN_LOG_LEVLE_FILE=x", "TOCSIN_SLACK_RAET=1",
		}, []string{
			"TOCSIN_DATABASE_URL: is not known; did you mean DATABASE_URL?",
			"TOCSIN_LOG_LEVLE_FILE: is not known; did you mean TOCSIN_LOG_LEVEL_FILE?",
			"TOCSIN_SECRET_KEYS: is not known; did you mean TOCSIN_SECRET_KEY?",
			"TOCSIN_SLACK_RAET: is not known; did you mean TOCSIN_SLACK_RATE?",
		}},
		"what Kubernetes adds for a service": {config.Serve, []string{
			"TOCSIN_PORT=tcp://10.0.0.1:80", "TOCSIN_SERVICE_HOST=10.0.0.1", "TOCSIN_PORT_80_TCP_ADDR=10.0.0.1", "TOCSIN_REDIS_PORT=tcp://10.0.0.2:6379", "TOCSIN_WEB_SERVICE_PORT=80",
		}, nil},
		"what the demo does not look at": {config.Demo, []string{"DATABASE_URL=x", "REDIS_URL=x", "SMTP_URL=x", "MAILGUN_DOMAIN=x", "TOCSIN_SECRET_KEY=x"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(tt.role, tt.env)
			var faults config.Errors
			if err != nil && !errors.As(err, &faults) {
				t.Fatalf("Load: %T, want config.Errors", err)
			}
			var lines []string
			if err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(faults) {
				t.Errorf("%d faults on %d lines", len(faults), len(lines))
			}
			if len(lines) != len(tt.want) {
				t.Fatalf("got %d faults, want %d:\n%s", len(lines), len(tt.want), strings.Join(lines, "\n"))
			}
			for i, line := range lines {
				if !strings.HasPrefix(line, tt.want[i]) {
					t.Errorf("line %d:\n got %s\nwant %s …", i+1, line, tt.want[i])
				}
			}
		})
	}
}

// TestFaultsKeepSecrets breaks every secret variable in many ways; no line may repeat what was in it.
func TestFaultsKeepSecrets(t *testing.T) {
	t.Parallel()
	const hidden = "hunter2"
	var broken []string
	for _, pattern := range []string{
		"%s", "%s://host", "postgres://u:%s@host:port/db", "postgres://%s", "postgres://u:%s/x@h/db?sslmode=%[1]s", "postgres://h/d?sslrootcert=/%s",
		"postgres://h:1/d?connect_timeout=%s", "sqlite://%s/x", "sqlite:///x?%s", "redis://u:%s#@h", "redis://h/%s", "redis://h?dial_timeout=%s", "redis://h?%s=1", "redis://h:%s",
		"redis://%%zz%s@h", "redis-sentinel://:%s@a,b", "redis-sentinel://a?tls=%s", "redis-cluster://a,%s:x", "smtp://u:%s@h:port", "smtp://u:%%z%s@h",
		"smtp://:%s@h", "smtp://h?tls=%s", "smtp://h/%s", "smtps://h?%s=1", "http://u:%s@h/v3", "short %s", "\n%s\n!",
	} {
		broken = append(broken, fmt.Sprintf(pattern, hidden))
	}
	seen := make(map[string]bool)
	for _, v := range config.Variables() {
		if !v.Secret && !strings.HasSuffix(v.Name, "_URL") && !strings.HasSuffix(v.Name, "_BASE") && !strings.HasSuffix(v.Name, "_ISSUER") {
			continue
		}
		for _, value := range broken {
			envs := [][]string{{v.Name + "=" + value}}
			if v.Secret {
				envs = append(envs, []string{v.Name + "_FILE=" + value}, []string{v.Name + "=" + value, v.Name + "_FILE=" + value}, []string{v.Name + "S=" + value})
			}
			for _, env := range envs {
				c, err := config.Load(config.Worker, env)
				if err == nil {
					t.Fatalf("Load(%q) found no fault", env)
				}
				seen[v.Name] = true
				if c != nil || strings.Contains(err.Error(), hidden) || strings.Contains(fmt.Sprintf("%+v %#v", err, err), hidden) {
					t.Errorf("%q: the fault shows the secret: %v", env, err)
				}
				for line := range strings.SplitSeq(err.Error(), "\n") {
					if name, problem, ok := strings.Cut(line, ": "); !ok || problem == "" || strings.ToUpper(name) != name {
						t.Errorf("%q: not a line that names a variable: %q", env, line)
					}
				}
			}
		}
	}
	if len(seen) < 9 {
		t.Errorf("only %d variables were tried: %v", len(seen), seen)
	}
}

func TestConfigDoesNotPrintSecrets(t *testing.T) {
	t.Parallel()
	c := load(t, config.Web, append(required, "TOCSIN_ADMIN_TOKEN=recognisable-recognisable")...)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		text := fmt.Sprintf(verb, *c) + fmt.Sprintf(verb, c.AdminToken) + fmt.Sprintf(verb, c.Database)
		if strings.Contains(text, "recognisable") || strings.Contains(text, "u:p@") || strings.Contains(text, "thirty-two") {
			t.Errorf("%s shows a secret: %s", verb, text)
		}
	}
	for _, verb := range []string{"%v", "%x", "%d", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, c.SecretKey); got != "[redacted]" {
			t.Errorf("%s of a key: %s", verb, got)
		}
	}
	if got, err := json.Marshal(map[string]any{"t": c.AdminToken, "k": c.SecretKey}); err != nil || string(got) != `{"k":"[redacted]","t":"[redacted]"}` {
		t.Errorf("JSON: %s, %v", got, err)
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("abcdefghijklmnopqrstuvwxyz\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := load(t, config.Serve, "TOCSIN_ADMIN_TOKEN_FILE="+path)
	if got := c.AdminToken.Reveal(); got != "abcdefghijklmnopqrstuvwxyz" {
		t.Errorf("AdminToken = %q", got)
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env         []string
		listen, url string
	}{
		{[]string{"PORT=80"}, ":80", "http://127.0.0.1:80"},
		{[]string{"PORT=80", "TOCSIN_LISTEN=[::1]:90"}, "[::1]:90", "http://[::1]:90"},
		{[]string{"TOCSIN_LISTEN=0.0.0.0:90"}, "0.0.0.0:90", "http://127.0.0.1:90"},
		{[]string{"TOCSIN_LISTEN=tocsin.internal:90"}, "tocsin.internal:90", "http://tocsin.internal:90"},
		{[]string{"PORT=80", "TOCSIN_BASE_URL=https://x.example/"}, ":80", "https://x.example"},
	} {
		c := load(t, config.Serve, tt.env...)
		if c.Listen != tt.listen || c.BaseURL != tt.url {
			t.Errorf("%q: %s, %s; want %s, %s", tt.env, c.Listen, c.BaseURL, tt.listen, tt.url)
		}
	}

	c := load(t, config.Serve, "PORT=0")
	c.SetListen("[::]:4321")
	if c.BaseURL != "http://127.0.0.1:4321" {
		t.Errorf("base URL after listening = %s", c.BaseURL)
	}
	c = load(t, config.Serve, "PORT=0", "TOCSIN_BASE_URL=https://x.example")
	c.SetListen("[::]:4321")
	if c.BaseURL != "https://x.example" {
		t.Errorf("given base URL after listening = %s", c.BaseURL)
	}
}

func TestLastOfTwoCounts(t *testing.T) {
	t.Parallel()
	if c := load(t, config.Serve, "PORT=1", "PORT=2"); c.Listen != ":2" {
		t.Errorf("Listen = %s", c.Listen)
	}
}

func TestEnsureSecretKey(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	if err := load(t, config.Serve, "TOCSIN_DATA_DIR="+dir).ReadSecretKey(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("ReadSecretKey without a key: %v", err)
	}

	keys := make([]config.Key, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			c := load(t, config.Serve, "TOCSIN_DATA_DIR="+dir)
			if err := c.EnsureSecretKey(); err != nil {
				t.Error(err)
			}
			keys[i] = c.SecretKey
		})
	}
	wg.Wait()
	for _, k := range keys {
		if len(k) != 32 || string(k) != string(keys[0]) {
			t.Fatal("processes that start at once have different keys")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Fatalf("left behind: %v", entries)
	}
	if info, err := entries[0].Info(); err != nil || entries[0].Name() != "secret.key" || info.Mode().Perm() != 0o600 {
		t.Errorf("%s, mode %v, %v", entries[0].Name(), info.Mode(), err)
	}

	given := load(t, config.Serve, "TOCSIN_DATA_DIR="+dir, "TOCSIN_SECRET_KEY="+key32)
	if err := given.EnsureSecretKey(); err != nil || string(given.SecretKey) == string(keys[0]) {
		t.Errorf("the key of the environment does not win: %v", err)
	}

	if err := os.WriteFile(filepath.Join(dir, "secret.key"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = load(t, config.Serve, "TOCSIN_DATA_DIR="+dir).EnsureSecretKey()
	if err == nil || strings.Contains(err.Error(), "torn") || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("a broken key file: %v", err)
	}
}

// TestDataDirEndsNoURL: the path of the SQLite database is a part of a URL, which ? and # would end.
func TestDataDirEndsNoURL(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"/data?x", "/data#x", "what?/data", "?"} {
		_, err := config.Load(config.Serve, []string{"TOCSIN_DATA_DIR=" + dir})
		if err == nil || !strings.Contains(err.Error(), "TOCSIN_DATA_DIR: holds a ?") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for _, dir := range []string{"/data/a b", "/data/ä%3F", "data&x=y"} {
		if c := load(t, config.Serve, "TOCSIN_DATA_DIR="+dir); c.Database.DSN.Reveal() != "sqlite://"+dir+"/tocsin.db" {
			t.Errorf("%s: %s", dir, c.Database.DSN.Reveal())
		}
	}
}

// TestChanged: what differs from its default is known, and nothing of a secret.
func TestChanged(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte("smtp://u:s3cr3t@mail:587\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := load(t, config.Serve, "TOCSIN_SLACK_RATE=2", "TOCSIN_MS_TEAMS_RATE=4", "TOCSIN_LOG_LEVEL=info", "TOCSIN_SECRET_KEY="+key32,
		"SMTP_URL_FILE="+file, "TOCSIN_LISTEN=127.0.0.1:8080", "TOCSIN_MONITOR_WRITE=true", "HOME=/root")
	want := []config.Setting{
		{Name: "TOCSIN_SECRET_KEY", Value: "set"},
		{Name: "SMTP_URL", Value: "set"},
		{Name: "TOCSIN_MONITOR_WRITE", Value: "true"},
		{Name: "TOCSIN_SLACK_RATE", Value: "2"},
	}
	if diff := cmp.Diff(want, c.Changed()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
