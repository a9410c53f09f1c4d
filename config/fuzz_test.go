package config

import (
	"encoding/base64"
	"errors"
	"math"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

// FuzzVariables sets one variable to anything. A fault is one line that names the variable and repeats no secret; what
// is taken keeps the bounds of the manual.
func FuzzVariables(f *testing.F) {
	const hidden = "hunter2hunter2hunter2hunter2"
	names := make([]string, len(variables))
	for i, v := range variables {
		names[i] = v.Name
	}
	for name, values := range map[string][]string{
		"PORT": {"8080", "-1", "+1", "65536", "0x50"}, "TOCSIN_LISTEN": {":8080", "[::1]:90", "a:b:c", "0 :0", "[fe80::1%eth0]:80", "a/b:1"}, "TOCSIN_BASE_URL": {"https://x.example/sub/", "https://x/?a", "//x"},
		"TOCSIN_SECRET_KEY":  {base64.StdEncoding.EncodeToString(make([]byte, keySize)), "====", "-_", strings.Repeat("A", 43)},
		"TOCSIN_ADMIN_TOKEN": {strings.Repeat("x", minTokenLength), "ü", " ", "\t"}, "MAILGUN_DOMAIN": {"mg.example.com", "a/b", "a?b", "a\r\nb"}, "SMTP_URL": {"smtp://u:p@h:587"},
		"TOCSIN_WEBHOOK_ALLOWED_NETWORKS": {"127.0.0.0/8, 10.1.2.3/8,::1", "::ffff:10.0.0.0/104", "fe80::1%eth0", "0.0.0.0/0,,"},
		"TOCSIN_SLACK_RATE":               {"0.5", "NaN", "-0", "Inf", "1e309", "0x1p-2"}, "TOCSIN_WORKER_CONCURRENCY": {"4", "0", "99999999999999999999"},
		"TOCSIN_SHUTDOWN_TIMEOUT": {"20", "20s", "1e3", "-1s", "9999999999999h", "1e-99"}, "TOCSIN_LOG_LEVEL": {"DEBUG", "fatal", "1"}, "TOCSIN_MONITOR_WRITE": {"TRUE", "yes"},
		"TOCSIN_OIDC_ISSUER": {"https://login.example/"}, "DATABASE_URL": {"postgres://u:p@h/db", "sqlite:///x"}, "REDIS_URL": {"redis://h:6379/0"},
	} {
		for _, v := range values {
			f.Add(uint8(slices.Index(names, name)), v)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		v := variables[int(which)%len(variables)]
		if strings.ContainsAny(value, "\x00") { // no environment holds it
			return
		}
		values := []string{value}
		if v.Secret {
			values = append(values, value+hidden, hidden+value)
		}
		for _, value := range values {
			c, err := Load(Serve, []string{v.Name + "=" + value})
			if err == nil {
				checkBounds(t, c)
				continue
			}
			var faults Errors
			if !errors.As(err, &faults) || c != nil || len(faults) == 0 {
				t.Fatalf("%s=%q: %T", v.Name, value, err)
			}
			for _, fault := range faults {
				if text := fault.Error(); !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 600 || !strings.HasPrefix(text, fault.Variable+": ") {
					t.Errorf("%s=%q: %q", v.Name, value, text)
				}
			}
			if v.Secret && strings.Contains(err.Error(), hidden) {
				t.Errorf("%s: the fault repeats the value: %v", v.Name, err)
			}
		}
	})
}

// checkBounds says what of a configuration is not as it is documented.
func checkBounds(t *testing.T, c *Config) {
	t.Helper()
	wrong := func(what string, value any) {
		t.Helper()
		t.Errorf("%s: %v", what, value)
	}
	for _, k := range []Key{c.SecretKey, c.SecretKeyOld} {
		if k != nil && len(k) != keySize {
			wrong("key", len(k))
		}
	}
	if a := c.AdminToken.Reveal(); a != "" && (len(a) < minTokenLength || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' })) {
		wrong("admin token", len(a))
	}
	for _, rate := range c.Rates {
		if !(rate >= 0) || math.IsInf(rate, 0) {
			wrong("rate", rate)
		}
	}
	for _, listen := range []string{c.Listen, c.MetricsListen} {
		if _, port, err := net.SplitHostPort(listen); listen != "" && (err != nil || !isPort(port)) {
			wrong("listen", listen)
		}
	}
	for _, network := range c.WebhookAllowedNetworks {
		if !network.IsValid() || network != network.Masked() {
			wrong("network", network)
		}
	}
	if u, err := url.Parse(c.BaseURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.HasSuffix(c.BaseURL, "/") {
		wrong("base URL", c.BaseURL)
	}
	if c.Mailgun != nil {
		if u, err := url.Parse("https://h/" + c.Mailgun.Domain + "/messages"); err != nil || u.Path != "/"+c.Mailgun.Domain+"/messages" || u.RawQuery != "" {
			wrong("Mailgun domain", c.Mailgun.Domain)
		}
	}
	if c.WorkerConcurrency < 1 || c.ShutdownTimeout <= 0 || c.LogLevel < zerolog.TraceLevel || c.LogLevel > zerolog.ErrorLevel || c.LogFormat != JSON && c.LogFormat != Console {
		wrong("rest", c)
	}
}
