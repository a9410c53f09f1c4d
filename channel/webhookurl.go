package channel

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxURL is the longest URL, in bytes, of a webhook or a button. Slack refuses longer ones:
// https://docs.slack.dev/reference/block-kit/block-elements/button-element
const MaxURL = 3000

// CheckWebhookURL checks the URL of a webhook as far as that is possible without DNS; the client of NewHTTPClient
// decides at every connection. Outside of allowed it accepts only https on port 443 of public addresses. The error
// never repeats the URL, which is a secret.
func CheckWebhookURL(raw string, allowed []netip.Prefix) error {
	switch {
	case raw == "":
		return errors.New("must not be empty")
	case len(raw) > MaxURL:
		return fmt.Errorf("must not be longer than %d bytes", MaxURL)
	case strings.Contains(raw, "…"):
		return errors.New("contains …: give the whole address, not its shortened form")
	case !utf8.ValidString(raw), strings.ContainsFunc(raw, func(r rune) bool { return r == ' ' || unicode.IsControl(r) }):
		return errors.New("must not contain spaces or control characters")
	case strings.Contains(raw, "#"):
		return errors.New("must not have a fragment (#)")
	}
	if at, r := Invisible(raw); at > 0 {
		return fmt.Errorf("has an invisible character (%U) at position %d", r, at)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("is not a valid URL")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must begin with https://")
	case u.Opaque != "" || u.Hostname() == "" || !printable(u.Host):
		return errors.New("must name a host")
	case u.User != nil:
		return errors.New("must not contain a user name or password")
	}
	port, err := portOf(u)
	if err != nil {
		return err
	}
	return checkHost(u.Scheme == "http", u.Hostname(), port, allowed)
}

// checkHost checks the host and port of a webhook; plain says that its scheme is http.
func checkHost(plain bool, host string, port int, allowed []netip.Prefix) error {
	inside := len(allowed) > 0 // a name is resolved at the connection: until then it may be inside
	if addrs := literal(host); len(addrs) > 0 {
		inside = slices.ContainsFunc(addrs, func(a netip.Addr) bool { return contains(allowed, a) })
		if !inside && newGuard(nil).outside.SafeAddr(addrs[0]) != nil {
			return errors.New("is not public, and outside of TOCSIN_WEBHOOK_ALLOWED_NETWORKS")
		}
	}
	switch {
	case inside:
		return nil
	case plain:
		return errors.New("must begin with https://; http:// is possible only inside TOCSIN_WEBHOOK_ALLOWED_NETWORKS")
	case port != 443:
		return errors.New("must use port 443; others are possible only inside TOCSIN_WEBHOOK_ALLOWED_NETWORKS")
	}
	return nil
}

// literal returns the addresses of a host that needs no DNS; none for an ordinary name.
func literal(host string) []netip.Addr {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	return nil
}

func portOf(u *url.URL) (int, error) {
	switch p := u.Port(); {
	case p != "":
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return 0, errors.New("has a port that does not exist")
		}
		return int(n), nil
	case strings.HasSuffix(u.Host, ":"):
		return 0, errors.New("has an empty port")
	case u.Scheme == "http":
		return 80, nil
	}
	return 443, nil
}

// RedactURL shortens the URL of a webhook to a form that distinguishes it from others and does not reveal it: scheme,
// host, "/…" and the last four characters, as in "https://hooks.slack.com/…a1b2". It never shows a user name or a
// password.
func RedactURL(raw string) string {
	if raw == "" {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || !printable(u.Host) {
		return "…"
	}
	if u.User != nil { // where the path is short, the last characters could be those of a password
		u.User = nil
		raw = strings.TrimPrefix(u.String(), u.Scheme+"://"+u.Host)
	}
	last := []rune(strings.ToValidUTF8(raw, string(utf8.RuneError)))
	return u.Scheme + "://" + u.Host + "/…" + string(last[max(0, len(last)-4):])
}

// printable reports whether a host can be shown: its %XX, which url.Parse decodes, may stand for any character.
func printable(host string) bool {
	return utf8.ValidString(host) && !strings.ContainsFunc(host, func(r rune) bool { return !unicode.IsPrint(r) })
}

// unfit are the ASCII characters that a link must encode, and that url.URL.String leaves as they are in a query or a
// fragment.
const unfit = " \"<>`|\\"

// WebLink returns raw in a form that every channel accepts as a link; ok is false where raw is not an http or https
// URL of at most MaxURL bytes. A message then goes without the link.
func WebLink(raw string) (link string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" ||
		u.Hostname() == "" || strings.ContainsAny(u.Host, unfit) || u.User != nil {
		return "", false
	}
	var b strings.Builder
	for _, c := range []byte(u.String()) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(unfit, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	if b.Len() > MaxURL {
		return "", false
	}
	return b.String(), true
}
