// Package config turns the environment into a checked Config. It is the only reader of the environment. It checks the
// form of addresses, but opens no database and makes no connection.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/rule"
)

// Role is the subcommand that loads the configuration; it decides which variables are required.
type Role string

// Roles. User and Token stand for the commands of that name.
const (
	Serve     Role = "serve"
	Demo      Role = "demo"
	Web       Role = "web"
	Worker    Role = "worker"
	Scheduler Role = "scheduler"
	Migrate   Role = "migrate"
	User      Role = "user"
	Token     Role = "token"
	Check     Role = "check"
	// Connector stands for the commands below "secobserve".
	Connector Role = "secobserve"
)

// sharesDatabase reports whether the role runs beside others, with which it shares a database, a Redis and a key.
func (r Role) sharesDatabase() bool { return r == Web || r == Worker || r == Scheduler }

// LogFormat is how log lines are written.
type LogFormat string

// Log formats.
const (
	JSON    LogFormat = "json"
	Console LogFormat = "console"
)

// Config is the checked environment. Optional parts are nil where they are not configured.
type Config struct {
	Role Role

	Database Database
	Redis    *redis.UniversalOptions // nil: an in-process Redis

	Listen        string // host:port
	MetricsListen string // host:port; empty: none
	BaseURL       string // without a slash at its end

	DataDir      string
	SecretKey    Key // nil until EnsureSecretKey or ReadSecretKey where the environment holds none
	SecretKeyOld Key // nil: none
	AdminToken   Secret

	Mailgun *Mailgun
	SMTP    *SMTP
	OIDC    *OIDC

	SecObserve *SecObserve

	WebhookAllowedNetworks []netip.Prefix

	HTTPSProxy, HTTPProxy, WebhookProxyURL Secret // empty: none; see OperatorProxy and WebhookProxy
	NoProxy                                string
	TrustedProxies                         []netip.Prefix // whose X-Forwarded-For is believed

	Rates map[rule.Channel]float64 // messages a second for one target; 0: no pacing

	TraceEndpoint     string // of an OTLP collector over HTTP, without a slash at its end; empty: nothing is traced
	WorkerConcurrency int
	MonitorWrite      bool
	LogLevel          zerolog.Level
	LogFormat         LogFormat
	ShutdownTimeout   time.Duration

	changed      []Setting
	baseURLGiven bool
}

// Setting is a variable with its value; that of a secret is "set".
type Setting struct{ Name, Value string }

// Database says where the data is.
type Database struct {
	Driver Driver
	DSN    Secret // a URL; that of SQLite is sqlite:// and the path, neither escaped nor necessarily absolute
}

// Driver is a kind of database.
type Driver string

// Drivers.
const (
	Postgres Driver = "postgres"
	SQLite   Driver = "sqlite"
)

// Mailgun is an account of Mailgun. APIBase is empty for the default region.
type Mailgun struct {
	Domain  string
	APIKey  Secret
	APIBase string
}

// OIDC is the client registration at an OpenID Connect provider.
type OIDC struct {
	Issuer       string
	ClientID     string
	ClientSecret Secret
}

// SecObserve is a SecObserve that Tocsin follows.
type SecObserve struct {
	URL      string // without a slash at its end
	Token    Secret
	Interval time.Duration
	Keep     []string // of KeepWords
}

// KeepWords name the parts of SecObserve that the operator can keep Tocsin from taking.
var KeepWords = []string{"contacts", "conditions", "members", "settings"}

// Fault is a fault of one variable. It never holds the value of a secret.
type Fault struct {
	Variable string
	Problem  string // what is wrong and what to do about it, on one line
}

// Error implements error.
func (f Fault) Error() string { return f.Variable + ": " + f.Problem }

// Errors are all faults of the environment.
type Errors []Fault

// Error implements error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads the configuration of role from environ, which has the form of os.Environ. Of several values of a name the
// last one counts, and an empty value is the same as none. All variables that are set are checked; which ones are
// required depends on the role. The error is an Errors with all faults.
//
// The demo ignores the variables that lead to other people's data and mail: those of the database, Redis, keys, mail
// accounts, proxies, OpenID Connect and SecObserve, and the data folder.
func Load(role Role, environ []string) (*Config, error) {
	c := defaults(role)
	env := make(map[string]string, len(environ))
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		env[name] = strings.TrimSpace(value)
	}

	for _, name := range proxyEnvironment {
		env[name] = cmp.Or(env[name], env[strings.ToLower(name)])
	}

	var faults Errors
	given := make(map[string]bool)
	for _, v := range variables {
		if role == Demo && v.notInDemo {
			continue
		}
		value, err := lookup(env, v)
		if err == nil && value != "" {
			given[v.Name] = true
			if err = v.set(c, value); err == nil && v.changes(role, value) {
				c.changed = append(c.changed, v.shown(value))
			}
		}
		if err != nil {
			given[v.Name] = true // a faulty one is not missing as well
			var f Fault
			if !errors.As(err, &f) {
				f = Fault{v.Name, err.Error()}
			}
			faults = append(faults, f)
		}
	}
	faults = append(faults, c.missing(given)...)
	faults = append(faults, unknown(env)...)
	if len(faults) > 0 {
		slices.SortStableFunc(faults, func(a, b Fault) int { return cmp.Compare(position(a.Variable), position(b.Variable)) })
		return nil, faults
	}

	c.baseURLGiven = c.BaseURL != ""
	c.SetListen(c.Listen)
	if c.Database.Driver == "" {
		c.SetDataDir(c.DataDir)
	}
	return c, nil
}

// Changed lists the variables whose values differ from the defaults, in the order in which they are documented.
func (c *Config) Changed() []Setting { return c.changed }

// defaults is the configuration of role where the environment is empty.
func defaults(role Role) *Config {
	c := &Config{
		Role:              role,
		Listen:            "127.0.0.1:8080",
		DataDir:           "tocsin-data",
		Rates:             make(map[rule.Channel]float64),
		WorkerConcurrency: 2 * runtime.NumCPU(),
		LogLevel:          zerolog.InfoLevel,
		LogFormat:         JSON,
		ShutdownTimeout:   20 * time.Second,
	}
	for _, channel := range rule.Channels {
		c.Rates[channel] = channel.Info().Rate
	}
	if isatty.IsTerminal(os.Stderr.Fd()) {
		c.LogFormat = Console
	}
	return c
}

// SetListen sets the address that the process listens on, for instance once port 0 has become a real port. The base
// URL follows it unless the environment sets one.
func (c *Config) SetListen(addr string) {
	c.Listen = addr
	if c.baseURLGiven {
		return
	}
	c.BaseURL = baseURLOf(addr)
}

// baseURLOf returns the URL of a process that listens on addr, host:port; with the loopback address where addr means
// every interface.
func baseURLOf(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}).String()
}

// BaseURLWarning returns a warning where other machines can reach the process but TOCSIN_BASE_URL is not set, else an
// empty text.
func (c *Config) BaseURLWarning() string {
	host, _, err := net.SplitHostPort(c.Listen)
	ip, errIP := netip.ParseAddr(host)
	if c.baseURLGiven || err != nil || host == "localhost" || errIP == nil && ip.IsLoopback() {
		return ""
	}
	return "TOCSIN_BASE_URL is not set, and other machines reach this address: links in messages lead to " + c.BaseURL +
		", and cookies are not limited to TLS. Set it to the address that people use, such as https://tocsin.example.com"
}

// SetDataDir makes dir the data folder, and the SQLite file in it the database. It moves no file.
func (c *Config) SetDataDir(dir string) {
	c.DataDir = dir
	c.Database = sqliteAt(filepath.Join(dir, "tocsin.db"))
}

// lookup returns the value of v, from the variable itself or from the file that its _FILE names.
func lookup(env map[string]string, v variable) (string, error) {
	value, file := env[v.Name], env[v.Name+fileSuffix]
	switch {
	case file == "":
		return value, nil
	case value != "":
		return "", fmt.Errorf("is set, and %s%s too: unset one of them", v.Name, fileSuffix)
	}
	text, err := readFile(file)
	if err != nil {
		// The path of a secret is not repeated: it may be the secret itself, set here by mistake.
		name, cause := quote(file), err
		if v.Secret {
			name = "the file it names"
		}
		if path, ok := errors.AsType[*os.PathError](err); ok {
			cause = path.Err
		}
		return "", Fault{
			v.Name + fileSuffix, fmt.Sprintf("%s cannot be read (%v): correct the path or its permissions", name, cause),
		}
	}
	value = strings.TrimSpace(string(text))
	if value == "" {
		return "", Fault{v.Name + fileSuffix, "the file it names is empty: write the value into it, or unset the variable"}
	}
	return value, nil
}

// maxFile is far above what any value needs.
const maxFile = 1 << 20

// readFile reads a file of at most maxFile bytes; name may be a device without an end.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name) // #nosec G304 -- the operator says which
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = errors.New("it is larger than 1 MiB")
	}
	return text, err
}

// missing lists the variables that are not set although the role, or another variable, needs them. It also clears
// SecObserve and Mailgun where only their optional variables are set.
func (c *Config) missing(given map[string]bool) Errors {
	var faults Errors
	need := func(name, problem string) {
		if !given[name] {
			faults = append(faults, Fault{name, problem})
		}
	}
	if c.Role.sharesDatabase() {
		need("DATABASE_URL", fmt.Sprintf("is not set, and `tocsin %s` needs it: "+
			"set it to postgres://user:password@host:5432/database", c.Role))
		need("REDIS_URL", fmt.Sprintf("is not set, and `tocsin %s` needs it: set it to redis://host:6379", c.Role))
		need("TOCSIN_SECRET_KEY", fmt.Sprintf("is not set, and `tocsin %s` needs it: "+
			"give every process the same key, made once with `%s`", c.Role, makeKey))
	}
	if c.Role == Connector {
		need("TOCSIN_SECOBSERVE_URL", "is not set: set it to the address of SecObserve's backend, such as "+
			"https://secobserve-backend.example.com")
	}
	together := func(names ...string) {
		if i := slices.IndexFunc(names, func(n string) bool { return given[n] }); i >= 0 {
			for _, n := range names {
				need(n, fmt.Sprintf("is not set, but %s is: they belong together, so set all of them or none", names[i]))
			}
		}
	}
	if c.Role != Demo {
		together("MAILGUN_DOMAIN", "MAILGUN_API_KEY")
		together("TOCSIN_SECOBSERVE_URL", "TOCSIN_SECOBSERVE_TOKEN")
		if !given["TOCSIN_SECOBSERVE_URL"] {
			c.SecObserve = nil // an interval without an address
		}
		together("TOCSIN_OIDC_ISSUER", "TOCSIN_OIDC_CLIENT_ID", "TOCSIN_OIDC_CLIENT_SECRET")
		if !given["MAILGUN_DOMAIN"] {
			c.Mailgun = nil // a region without an account
		}
	}
	return faults
}
