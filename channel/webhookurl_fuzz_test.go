package channel

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzWebhookURL: what is taken has a host and a port that may be tried, and what is literally no public address is
// not; an error, or the redacted form, gives nothing of the path away but its end.
func FuzzWebhookURL(f *testing.F) {
	const secret = "s3cr3t"
	for _, seed := range [][2]string{
		{"https://hooks.slack.com/services/T00/B00/", "a1b2"},
		{"https://prod-1.westus.logic.azure.com:443/workflows/x?sig=", "&x=1"},
		{"http://127.0.0.1:9999/", ""},
		{"https://[::ffff:127.0.0.1]/", ""},
		{"https://2130706433/", ""},
		{"https://0x7f.1/", ""},
		{"https://hooks.slack.com./", ""},
		{"https://u:", "@x.example/"},
		{"https://x.example/…", ""},
		{"//", "@"},
		{"//", "\x87"},
		{"https://%80", ""},
		{"https://%e2%80%ae", ".example/"},
		{"", "://x"},
	} {
		f.Add(seed[0], seed[1])
	}
	allowed := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	f.Fuzz(func(t *testing.T, before, after string) {
		raw := before + secret + after
		for _, networks := range [][]netip.Prefix{nil, allowed} {
			err := CheckWebhookURL(raw, networks)
			if err != nil {
				if strings.Contains(err.Error(), secret) || strings.ContainsAny(err.Error(), "\r\n") {
					t.Errorf("%q: %q", raw, err)
				}
				continue
			}
			u, err := url.Parse(raw)
			if err != nil || u.User != nil || u.Hostname() == "" || len(raw) > MaxURL {
				t.Errorf("%q passes: %v", raw, err)
				continue
			}
			if port, err := portOf(u); networks == nil && (u.Scheme != "https" || port != 443 || err != nil) {
				t.Errorf("%q passes with port %d", raw, port)
			}
			a, err := netip.ParseAddr(u.Hostname())
			if err != nil {
				continue
			}
			a = a.Unmap() // as the dialer does
			if g := newGuard(networks); !contains(networks, a) && g.outside.SafeAddr(a) != nil {
				t.Errorf("%q passes, and is refused at the connection", raw)
			}
		}
		shown := RedactURL(raw)
		if !utf8.ValidString(shown) {
			t.Errorf("%q is shown as %q", raw, shown)
		}
		if u, err := url.Parse(raw); err == nil && strings.Contains(shown, secret) && !strings.Contains(u.Host, secret) && !strings.Contains(u.Scheme, secret) {
			t.Errorf("%q is shown as %q", raw, shown)
		}
	})
}

// FuzzWebLink: a link in a message leads to http or https and nothing in it ends an attribute or Slack's <…|…>.
func FuzzWebLink(f *testing.F) {
	for _, seed := range []string{
		"https://secobserve.example/#/observations/12/show?a=1&b=<2>|\"3\"", "javascript:alert(1)", "HTTPS://x/\t", "https://user@x", "http://[::1]:80/%zz", "https://x/?q=\u202e'`", `https://"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		link, ok := WebLink(raw)
		if !ok {
			if link != "" {
				t.Errorf("%q: %q", raw, link)
			}
			return
		}
		u, err := url.Parse(link)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(link) > MaxURL ||
			strings.ContainsFunc(link, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"<>|\\`", r) }) {
			t.Errorf("%q became %q", raw, link)
		}
		if again, ok := WebLink(link); !ok || again != link {
			t.Errorf("%q became %q, and then %q", raw, link, again)
		}
	})
}
