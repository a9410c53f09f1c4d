package channel

import (
	"net/netip"
	"strings"
	"testing"
)

var (
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	private  = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
)

func TestCheckWebhookURL(t *testing.T) {
	t.Parallel()
	const slack = "https://hooks.slack.com/services/T00/B00/s3cr3t"
	for _, c := range []struct {
		url     string
		allowed []netip.Prefix
		says    string // empty: valid
	}{
		{slack, nil, ""},
		{"https://prod-1.westus.logic.azure.com:443/workflows/x?sig=s3cr3t", nil, ""},
		{"https://93.184.216.34/x", nil, ""},
		{"https://[2606:4700::1111]/x", nil, ""},
		{"HTTPS://hooks.example.com/x", nil, ""},
		{slack + "?" + strings.Repeat("x", MaxURL-len(slack)-1), nil, ""},
		{"http://127.0.0.1:9999/x", loopback, ""},
		{"https://127.0.0.1:9999/x", loopback, ""},
		{"http://localhost:9999/x", loopback, ""},
		{"http://receiver.lan:8080/x", loopback, ""}, // decided at the connection
		{"http://10.1.2.3/x", private, ""},
		{"http://[fd00::1]:80/x", private, ""},

		{"", nil, "empty"},
		{slack + "?" + strings.Repeat("x", MaxURL), nil, "3000"},
		{"https://hooks.slack.com/…cr3t", nil, "…"},
		{" " + slack, nil, "spaces"},
		{slack + "\n", nil, "spaces"},
		{"https://hooks.slack.com/s3cr3t\xff", nil, "spaces"},
		{slack + "#", nil, "fragment"},
		{"https://hooks.slack.com/\u200bs3cr3t", nil, "(U+200B) at position 25"},
		{"https://hooks.slack.com/\u202es3cr3t", nil, "(U+202E) at position 25"},
		{"https://hooks.slack.com/ü\u00a0s3cr3t", nil, "(U+00A0) at position 26"},
		{"\ufeff" + slack, nil, "(U+FEFF) at position 1"},
		{slack + "\u2028", nil, "(U+2028) at position"},
		{slack + "\ufe0f", nil, "(U+FE0F) at position"},
		{"https://%zz/s3cr3t", nil, "valid URL"},
		{"hooks.slack.com/s3cr3t", nil, "https://"},
		{"ftp://hooks.slack.com/s3cr3t", nil, "https://"},
		{"https:hooks.slack.com/s3cr3t", nil, "host"},
		{"https:///s3cr3t", nil, "host"},
		{"https://:443/s3cr3t", nil, "host"},
		{"https://user:s3cr3t@hooks.slack.com/", nil, "user name"},
		{"https://@hooks.slack.com/s3cr3t", nil, "user name"},
		{"https://hooks.slack.com:0/s3cr3t", nil, "port"},
		{"https://hooks.slack.com:70000/s3cr3t", nil, "port"},
		{"https://hooks.slack.com:/s3cr3t", nil, "port"},
		{"https://hooks.slack.com:8443/s3cr3t", nil, "port 443"},
		{"http://hooks.slack.com/s3cr3t", nil, "https://"},
		{"http://93.184.216.34/s3cr3t", private, "https://"},
		{"https://93.184.216.34:8443/s3cr3t", private, "port 443"},
		{"http://127.0.0.1/s3cr3t", nil, "not public"},
		{"http://127.0.0.1/s3cr3t", private, "not public"},
		{"https://localhost/s3cr3t", nil, "not public"},
		{"https://LocalHost./s3cr3t", nil, "not public"},
		{"https://10.0.0.1/s3cr3t", nil, "not public"},
		{"https://169.254.169.254/s3cr3t", nil, "not public"},
		{"https://100.64.0.1/s3cr3t", nil, "not public"},
		{"https://0.0.0.0/s3cr3t", nil, "not public"},
		{"https://[::1]/s3cr3t", loopback, "not public"},
		{"https://[::ffff:10.0.0.1]/s3cr3t", nil, "not public"},
		{"https://[fe80::1%25eth0]/s3cr3t", nil, "not public"},
	} {
		err := CheckWebhookURL(c.url, c.allowed)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.80q: %v, want %q", c.url, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "cr3t") {
			t.Errorf("%.80q: the error repeats it: %v", c.url, err)
		}
	}
}

func TestRedactURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://hooks.slack.com/services/T00/B00/xyza1b2":     "https://hooks.slack.com/…a1b2",
		"https://x.logic.azure.com:443/workflows/a?sig=abcdef": "https://x.logic.azure.com:443/…cdef",
		"https://user:pass@example.com/abcdef":                 "https://example.com/…cdef",
		"https://user:pass@example.com":                        "https://example.com/…",
		"https://user:pass@example.com/":                       "https://example.com/…/",
		"http://127.0.0.1:9999/äöüß":                           "http://127.0.0.1:9999/…äöüß",
		"":                                                     "",
		"x":                                                    "…",
		"%zz://":                                               "…",
	} {
		if got := RedactURL(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestWebLink(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://x.example/#/observations/1/show": "https://x.example/#/observations/1/show",
		"http://x.example/a b?c=<d>|e":            "http://x.example/a%20b?c=%3Cd%3E%7Ce",
		"javascript:alert(1)":                     "",
		"//x.example/":                            "",
		"https://user@x.example/":                 "",
		"":                                        "",
		"https://x.example/\n":                    "",
		"https://x.example/?" + strings.Repeat("x", MaxURL): "",
	} {
		if got, ok := WebLink(in); got != want || ok != (want != "") {
			t.Errorf("%.60q: %.60q %v, want %q", in, got, ok, want)
		}
	}
}
