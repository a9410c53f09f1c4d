package config_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/config"
)

func TestProxies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  []string
		to   string
		want string
	}{
		{nil, "https://api.mailgun.net/v3", "directly"},
		{[]string{"HTTPS_PROXY=http://u:s3cr3t@proxy.lan:3128"}, "https://api.mailgun.net/v3", "through the proxy http://proxy.lan:3128"},
		{[]string{"https_proxy=proxy.lan:3128"}, "https://api.mailgun.net/v3", "through the proxy http://proxy.lan:3128"},
		{[]string{"https_proxy=lower.lan:1", "HTTPS_PROXY=upper.lan:1"}, "https://api.mailgun.net/v3", "through the proxy http://upper.lan:1"},
		{[]string{"HTTPS_PROXY=http://proxy.lan:3128"}, "http://idp.lan/", "directly"},
		{[]string{"HTTP_PROXY=socks5://proxy.lan:1080"}, "http://idp.lan/", "through the proxy socks5://proxy.lan:1080"},
		{[]string{"HTTPS_PROXY=http://proxy.lan:3128", "NO_PROXY=.mailgun.net,10.0.0.0/8"}, "https://api.mailgun.net/v3", "directly"},
		{[]string{"HTTPS_PROXY=http://proxy.lan:3128", "no_proxy=10.0.0.0/8"}, "https://10.1.2.3/", "directly"},
		{[]string{"HTTPS_PROXY=http://proxy.lan:3128"}, "https://localhost/", "directly"},
		{[]string{"TOCSIN_WEBHOOK_PROXY=http://proxy.lan:3128"}, "https://api.mailgun.net/v3", "directly"},
	} {
		to, err := url.Parse(c.to)
		if err != nil {
			t.Fatal(err)
		}
		got := load(t, config.Serve, c.env...)
		if way := got.OperatorProxy().Way(to); way != c.want {
			t.Errorf("%q to %s: %s, want %s", c.env, c.to, way, c.want)
		}
	}
	got := load(t, config.Serve, "TOCSIN_WEBHOOK_PROXY=http://u:s3cr3t@proxy.lan:3128", "NO_PROXY=*")
	to := &url.URL{Scheme: "https", Host: "hooks.slack.com"}
	if way := got.WebhookProxy().Way(to); way != "through the proxy http://proxy.lan:3128" {
		t.Error(way)
	}
	if u, err := got.WebhookProxy()(to); err != nil || u.User.Username() != "u" {
		t.Error(u, err)
	}
	if load(t, config.Serve, "HTTPS_PROXY=http://proxy.lan:3128").WebhookProxy() != nil {
		t.Error("webhooks use HTTPS_PROXY")
	}
	for _, bad := range []string{"ftp://proxy.lan", "http://u:s3cr3t/x@proxy.lan", "http://u:s3cr3t@", "http://u:s3cr3t@proxy.lan/path", "http://u:s3cr3t@proxy.lan:x"} {
		for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "TOCSIN_WEBHOOK_PROXY"} {
			_, err := config.Load(config.Serve, []string{name + "=" + bad})
			if err == nil || !strings.HasPrefix(err.Error(), name+": ") || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("%s=%s: %v", name, bad, err)
			}
		}
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://tocsin.example.com":          "https://tocsin.example.com",
		"HTTPS://Tocsin.Example.COM:443/":     "https://tocsin.example.com",
		"http://tocsin.example.com:80/Sub//a": "http://tocsin.example.com/Sub/a",
		"https://tocsin.example.com:8443//":   "https://tocsin.example.com:8443",
		"https://tocsin.example.com://x/":     "https://tocsin.example.com/x",
		"https://tocsin.example.com//x/":      "https://tocsin.example.com/x",
		"https://tocsin.example.com:/":        "https://tocsin.example.com",
		"https://müller.example/":             "https://xn--mller-kva.example",
		"http://[::1]:8080/":                  "http://[::1]:8080",
		"https://tocsin.example.com/a/../b":   "",
		"https://tocsin.example.com/./":       "",
		"https://tocsin.example.com/a%2f/":    "",
		"https://tocsin.example.com/a\\b":     "",
		"https://tocsin.example.com/a;b":      "",
		"https://tocsin.example.com:99999/":   "",
		"https://u@tocsin.example.com/":       "",
	} {
		c, err := config.Load(config.Serve, []string{"TOCSIN_BASE_URL=" + in})
		if (err == nil) != (want != "") || err == nil && c.BaseURL != want {
			t.Errorf("%s: %v, want %q", in, err, want)
			if err == nil {
				t.Error(c.BaseURL)
			}
		}
	}
}

func TestBaseURLWarning(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  []string
		want bool
	}{
		{nil, false},
		{[]string{"TOCSIN_LISTEN=localhost:1"}, false},
		{[]string{"TOCSIN_LISTEN=[::1]:1"}, false},
		{[]string{"PORT=8080"}, true},
		{[]string{"TOCSIN_LISTEN=0.0.0.0:1"}, true},
		{[]string{"TOCSIN_LISTEN=192.0.2.1:1"}, true},
		{[]string{"TOCSIN_LISTEN=tocsin.lan:1"}, true},
		{[]string{"PORT=8080", "TOCSIN_BASE_URL=https://tocsin.example"}, false},
	} {
		if got := load(t, config.Serve, c.env...).BaseURLWarning(); (got != "") != c.want {
			t.Errorf("%q: %q", c.env, got)
		}
	}
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	c := load(t, config.Serve, "TOCSIN_TRUSTED_PROXIES=10.0.0.0/8, ::1")
	if len(c.TrustedProxies) != 2 || c.TrustedProxies[0].String() != "10.0.0.0/8" || c.TrustedProxies[1].String() != "::1/128" {
		t.Error(c.TrustedProxies)
	}
	if _, err := config.Load(config.Serve, []string{"TOCSIN_TRUSTED_PROXIES=proxy.lan"}); err == nil {
		t.Error("a name passes")
	}
}
