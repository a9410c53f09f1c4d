package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func parseListen(s string) (string, error) {
	_, port, err := net.SplitHostPort(s)
	if _, errURL := url.Parse(baseURLOf(s)); err != nil || errURL != nil || !isPort(port) {
		return "", fmt.Errorf("%s is not an address to listen on: write host:port, such as 127.0.0.1:8080, or :8080 for "+
			"every interface", quote(s))
	}
	return s, nil
}

// parseWebURL returns an http or https address without the slashes at its end.
func parseWebURL(s, example string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "", fmt.Errorf("is not a web address: write it like %s", example)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", fmt.Errorf("has a user, a query or a fragment: write only scheme, host and path, like %s", example)
	}
	return strings.TrimRight(s, "/"), nil
}

// basePath matches the path of a base URL: its characters mean the same in a link, a cookie and a redirect.
var basePath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)

var slashes = regexp.MustCompile(`/{2,}`)

// parseBaseURL returns an http or https address in the form that browsers give it: scheme and host in lower case and
// in ASCII, without a default port, with single slashes and none at its end.
func parseBaseURL(s string) (string, error) {
	const example = "https://tocsin.example.com"
	s, err := parseWebURL(s, example)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("is not a web address: write it like %s", example)
	}
	host := strings.ToLower(u.Hostname())
	if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) {
		if host, err = idna.Lookup.ToASCII(host); err != nil {
			return "", fmt.Errorf("has a host that does not exist: write it like %s", example)
		}
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		if !isPort(port) {
			return "", fmt.Errorf("has a port that does not exist: write it like %s", example)
		}
		host += ":" + port
	}
	folder := strings.TrimSuffix(slashes.ReplaceAllString(u.EscapedPath(), "/"), "/")
	if !basePath.MatchString(folder) || folder != "" && path.Clean(folder) != folder {
		return "", errors.New("has a path with other characters than letters, digits, - . _ ~ and single slashes: " +
			"write it like " + example + "/tocsin")
	}
	return u.Scheme + "://" + host + folder, nil
}

func parseNetworks(s string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, field := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		network, err := netip.ParsePrefix(field)
		if addr, errAddr := netip.ParseAddr(field); errAddr == nil && addr.Zone() == "" {
			network, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not a network: write CIDRs with commas between them, such as 10.0.0.0/8,fd00::/8",
				quote(field))
		}
		if a := network.Addr(); a.Is4In6() && network.Bits() >= 96 { // dialled addresses are compared as IPv4
			network = netip.PrefixFrom(a.Unmap(), network.Bits()-96)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

func parseRate(s string) (float64, error) {
	rate, err := strconv.ParseFloat(s, 64)
	if err != nil || !(rate >= 0) || math.IsInf(rate, 0) {
		return 0, fmt.Errorf("%s is not a rate: write messages a second, such as 1 or 0.5, or 0 for no pacing", quote(s))
	}
	return rate, nil
}

// quote returns a value that is no secret in quotes, on one line and shortened.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// printable keeps a name from the environment on one line.
func printable(name string) string {
	return strings.Trim(strconv.Quote(name), `"`)
}
