package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/rule"
)

// fileSuffix makes the name of the variable that holds the path of a file with the value.
const fileSuffix = "_FILE"

// Variable is one name that Load looks for. Each may also come with _FILE behind it.
type Variable struct {
	Name   string
	Secret bool   // the value must never be shown
	About  string // what it is for
}

type variable struct {
	Variable
	notInDemo bool

	// set stores a value that is not empty. Its error says what is wrong and what to do, without the name of the variable
	// and without the value of a secret.
	set func(c *Config, value string) error
}

// changes reports whether a value that set has accepted differs from the default.
func (v variable) changes(role Role, value string) bool {
	c := defaults(role)
	return v.set(c, value) != nil || !reflect.DeepEqual(c, defaults(role))
}

// shown is the variable with a value as a log may show it.
func (v variable) shown(value string) Setting {
	if v.Secret {
		value = "set"
	}
	return Setting{v.Name, value}
}

func plain(name string, set func(*Config, string) error) variable {
	return variable{Variable: Variable{Name: name}, set: set}
}

func secret(name string, set func(*Config, string) error) variable {
	return variable{Variable: Variable{Name: name, Secret: true}, set: set}
}

// notInDemo marks variables that the demo ignores: they lead to other people's data and mail.
func notInDemo(v variable) variable {
	v.notInDemo = true
	return v
}

// variables is the table of all variables, in the order in which faults are listed.
var variables = append([]variable{
	notInDemo(secret("DATABASE_URL", func(c *Config, s string) (err error) {
		c.Database, err = parseDatabaseURL(s)
		return err
	})),
	notInDemo(secret("REDIS_URL", func(c *Config, s string) (err error) { c.Redis, err = parseRedisURL(s); return err })),
	plain("PORT", func(c *Config, s string) error {
		if !isPort(s) {
			return fmt.Errorf("%s is not a port: write a number from 0 to 65535", quote(s))
		}
		c.Listen = ":" + s
		return nil
	}),
	// After PORT, which some platforms always set: TOCSIN_LISTEN is set on purpose, so it wins.
	plain("TOCSIN_LISTEN", func(c *Config, s string) (err error) { c.Listen, err = parseListen(s); return err }),
	plain("TOCSIN_METRICS_LISTEN", func(c *Config, s string) (err error) {
		c.MetricsListen, err = parseListen(s)
		return err
	}),
	plain("TOCSIN_BASE_URL", func(c *Config, s string) (err error) {
		c.BaseURL, err = parseBaseURL(s)
		return err
	}),
	notInDemo(plain("TOCSIN_DATA_DIR", func(c *Config, s string) error { c.DataDir = s; return checkDataDir(s) })),
	notInDemo(secret("TOCSIN_SECRET_KEY", func(c *Config, s string) (err error) {
		c.SecretKey, err = parseKey(s)
		return err
	})),
	notInDemo(secret("TOCSIN_SECRET_KEY_OLD", func(c *Config, s string) (err error) {
		c.SecretKeyOld, err = parseKey(s)
		return err
	})),
	secret("TOCSIN_ADMIN_TOKEN", func(c *Config, s string) error {
		if len(s) < minTokenLength {
			return fmt.Errorf("is %d characters long and must be at least %d: make one with `openssl rand -hex 24`",
				len(s), minTokenLength)
		}
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errors.New("has a space or a character beyond ASCII, which no Authorization header carries: " +
				"make one with `openssl rand -hex 24`")
		}
		c.AdminToken = Secret(s)
		return nil
	}),
	notInDemo(plain("MAILGUN_DOMAIN", func(c *Config, s string) error {
		if strings.ContainsFunc(s, func(r rune) bool {
			return r > '~' || r != '.' && r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}) {
			return fmt.Errorf("%s is not a domain: write it like mg.example.com", quote(s))
		}
		c.mailgun().Domain = s
		return nil
	})),
	notInDemo(secret("MAILGUN_API_KEY", func(c *Config, s string) error { c.mailgun().APIKey = Secret(s); return nil })),
	notInDemo(plain("MAILGUN_API_BASE", func(c *Config, s string) (err error) {
		c.mailgun().APIBase, err = parseWebURL(s, "https://api.eu.mailgun.net/v3")
		return err
	})),
	notInDemo(secret("SMTP_URL", func(c *Config, s string) (err error) { c.SMTP, err = parseSMTPURL(s); return err })),
	plain("TOCSIN_WEBHOOK_ALLOWED_NETWORKS", func(c *Config, s string) (err error) {
		c.WebhookAllowedNetworks, err = parseNetworks(s)
		return err
	}),
	notInDemo(secret("HTTPS_PROXY", func(c *Config, s string) (err error) {
		c.HTTPSProxy, err = parseProxyURL(s)
		return err
	})),
	notInDemo(secret("HTTP_PROXY", func(c *Config, s string) (err error) {
		c.HTTPProxy, err = parseProxyURL(s)
		return err
	})),
	notInDemo(plain("NO_PROXY", func(c *Config, s string) error { c.NoProxy = s; return nil })),
	notInDemo(secret("TOCSIN_WEBHOOK_PROXY", func(c *Config, s string) (err error) {
		c.WebhookProxyURL, err = parseProxyURL(s)
		return err
	})),
	plain("TOCSIN_TRUSTED_PROXIES", func(c *Config, s string) (err error) {
		c.TrustedProxies, err = parseNetworks(s)
		return err
	}),
	plain("TOCSIN_WORKER_CONCURRENCY", func(c *Config, s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("%s is not a number of evaluations at once: write a whole number of at least 1", quote(s))
		}
		c.WorkerConcurrency = n
		return nil
	}),
	notInDemo(plain("TOCSIN_OIDC_ISSUER", func(c *Config, s string) error {
		// Kept as it is: providers compare the issuer byte for byte, with its slash.
		if _, err := parseWebURL(s, "https://login.example.com/realms/main"); err != nil {
			return err
		}
		c.oidc().Issuer = s
		return nil
	})),
	notInDemo(plain("TOCSIN_OIDC_CLIENT_ID", func(c *Config, s string) error { c.oidc().ClientID = s; return nil })),
	notInDemo(secret("TOCSIN_OIDC_CLIENT_SECRET", func(c *Config, s string) error {
		c.oidc().ClientSecret = Secret(s)
		return nil
	})),
	notInDemo(plain("TOCSIN_SECOBSERVE_URL", func(c *Config, s string) (err error) {
		if c.secObserve().URL, err = parseWebURL(s, "https://secobserve-backend.example.com"); err != nil {
			return err
		}
		c.SecObserve.URL = strings.TrimSuffix(c.SecObserve.URL, "/api")
		return nil
	})),
	notInDemo(secret("TOCSIN_SECOBSERVE_TOKEN", func(c *Config, s string) error {
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return errors.New("has a space or a character beyond ASCII: set the API token alone, without a word before it")
		}
		c.secObserve().Token = Secret(s)
		return nil
	})),
	notInDemo(plain("TOCSIN_SECOBSERVE_INTERVAL", func(c *Config, s string) (err error) {
		c.secObserve().Interval, err = parseDuration(s)
		if err == nil && c.SecObserve.Interval < time.Second {
			err = fmt.Errorf("%s is too short: write at least 1s", quote(s))
		}
		return err
	})),
	notInDemo(plain("TOCSIN_SECOBSERVE_KEEP", func(c *Config, s string) error {
		for word := range strings.SplitSeq(s, ",") {
			word = strings.TrimSpace(word)
			if !slices.Contains(KeepWords, word) {
				return fmt.Errorf("%s is not known: write some of %s, with commas between them", quote(word),
					strings.Join(KeepWords, ", "))
			}
			c.secObserve().Keep = append(c.secObserve().Keep, word)
		}
		return nil
	})),
	plain("TOCSIN_MONITOR_WRITE", func(c *Config, s string) (err error) {
		if c.MonitorWrite, err = strconv.ParseBool(strings.ToLower(s)); err != nil {
			return fmt.Errorf("%s is neither true nor false: write one of them", quote(s))
		}
		return nil
	}),
	plain("OTEL_EXPORTER_OTLP_ENDPOINT", func(c *Config, s string) (err error) {
		c.TraceEndpoint, err = parseWebURL(s, "http://collector.example.com:4318")
		return err
	}),
	plain("TOCSIN_LOG_LEVEL", func(c *Config, s string) error {
		level, err := zerolog.ParseLevel(strings.ToLower(s))
		if err != nil || level < zerolog.TraceLevel || level > zerolog.ErrorLevel {
			return fmt.Errorf("%s is not a level: write trace, debug, info, warn or error", quote(s))
		}
		c.LogLevel = level
		return nil
	}),
	plain("TOCSIN_LOG_FORMAT", func(c *Config, s string) error {
		c.LogFormat = LogFormat(strings.ToLower(s))
		if c.LogFormat != JSON && c.LogFormat != Console {
			return fmt.Errorf("%s is not a format: write json or console", quote(s))
		}
		return nil
	}),
	plain("TOCSIN_SHUTDOWN_TIMEOUT", func(c *Config, s string) (err error) {
		c.ShutdownTimeout, err = parseDuration(s)
		return err
	}),
}, rateVariables()...)

// rateVariables are the variables that pace the channels, as TOCSIN_MS_TEAMS_RATE does.
func rateVariables() []variable {
	var out []variable
	for _, channel := range rule.Channels {
		out = append(out, plain(prefix+strings.ToUpper(string(channel))+"_RATE", func(c *Config, s string) (err error) {
			c.Rates[channel], err = parseRate(s)
			return err
		}))
	}
	return out
}

// parseDuration reads seconds, or a duration with its unit.
func parseDuration(s string) (time.Duration, error) {
	text := s
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s is not a time above zero: write seconds, or a duration such as 20s or 1m", quote(text))
	}
	return d, nil
}

const minTokenLength = 24

// Variables lists what Load looks for, in the order in which it is documented.
func Variables() []Variable {
	vs := make([]Variable, len(variables))
	for i, v := range variables {
		vs[i] = v.Variable
		vs[i].About = about[v.Name]
	}
	return vs
}

func (c *Config) mailgun() *Mailgun {
	if c.Mailgun == nil {
		c.Mailgun = new(Mailgun)
	}
	return c.Mailgun
}

func (c *Config) secObserve() *SecObserve {
	if c.SecObserve == nil {
		c.SecObserve = &SecObserve{Interval: time.Minute}
	}
	return c.SecObserve
}

func (c *Config) oidc() *OIDC {
	if c.OIDC == nil {
		c.OIDC = new(OIDC)
	}
	return c.OIDC
}

// position is where a variable stands in the table; unknown ones come last.
func position(name string) int {
	name = strings.TrimSuffix(name, fileSuffix)
	i := slices.IndexFunc(variables, func(v variable) bool { return v.Name == name })
	if i < 0 {
		return len(variables)
	}
	return i
}

// unknown finds misspelled names of variables, because a setting that is silently not applied is noticed late. It
// ignores other names that begin with TOCSIN_: Kubernetes sets some for a service of that name.
func unknown(env map[string]string) Errors {
	var faults Errors
	for name, value := range env {
		if value == "" || !strings.HasPrefix(name, prefix) || position(name) < len(variables) {
			continue
		}
		if known := meant(name); known != "" {
			faults = append(faults, Fault{printable(name), "is not known; did you mean " + known + "? Rename it, or unset it"})
		}
	}
	slices.SortFunc(faults, func(a, b Fault) int { return strings.Compare(a.Variable, b.Variable) })
	return faults
}

const prefix = "TOCSIN_"

// meant returns the variable that name was meant to be, or nothing.
func meant(name string) string {
	stem, isFile := strings.CutSuffix(name, fileSuffix)
	best, bestDistance := "", 3 // two wrong letters at most
	for _, v := range variables {
		known := v.Name
		if !strings.HasPrefix(known, prefix) {
			if known == "PORT" { // Kubernetes sets TOCSIN_PORT
				continue
			}
			known = prefix + known
		}
		if d := distance(stem, known); d < bestDistance {
			best, bestDistance = v.Name, d
		}
	}
	if best != "" && isFile {
		best += fileSuffix
	}
	return best
}

// distance counts the bytes to insert, delete or replace to get from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
