package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// Proxy returns the proxy for a request to an address, nil for a request that uses none. A Proxy that is nil itself
// means that no request uses one.
type Proxy func(to *url.URL) (*url.URL, error)

// proxyEnvironment are variables that other programs read too; Load accepts them in lower case as well.
var proxyEnvironment = []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"}

// OperatorProxy is for addresses that the operator chose, such as Mailgun's: it obeys HTTPS_PROXY, HTTP_PROXY and
// NO_PROXY.
func (c *Config) OperatorProxy() Proxy {
	if c.HTTPSProxy == "" && c.HTTPProxy == "" {
		return nil
	}
	return (&httpproxy.Config{
		HTTPSProxy: c.HTTPSProxy.Reveal(), HTTPProxy: c.HTTPProxy.Reveal(), NoProxy: c.NoProxy,
	}).ProxyFunc()
}

// WebhookProxy is for webhooks: it obeys TOCSIN_WEBHOOK_PROXY.
func (c *Config) WebhookProxy() Proxy {
	if c.WebhookProxyURL == "" {
		return nil
	}
	u, err := url.Parse(c.WebhookProxyURL.Reveal())
	return func(*url.URL) (*url.URL, error) { return u, err }
}

// Way says in words, without user and password, which way a request takes.
func (p Proxy) Way(to *url.URL) string {
	if p == nil {
		return "directly"
	}
	u, err := p(to)
	switch {
	case err != nil:
		return "through a proxy that cannot be used"
	case u == nil:
		return "directly"
	}
	return "through the proxy " + (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}

// parseProxyURL reads [http://][user:password@]host[:port]; https, socks5 and socks5h are possible too. Its errors
// repeat nothing of s, which may hold a password.
func parseProxyURL(s string) (Secret, error) {
	const example = "http://proxy.example.com:3128"
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot be read: write it like %s %s", example, escaping)
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme):
		return "", fmt.Errorf("begins with neither http://, https://, socks5:// nor socks5h:// : write it like %s", example)
	case u.Hostname() == "" || strings.ContainsAny(u.Hostname(), " \t@,") || u.Port() != "" && !isPort(u.Port()):
		return "", fmt.Errorf("is not scheme, host and port: write it like %s %s", example, escaping)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("has a path, a query or a fragment: write it like " + example)
	}
	return Secret(s), nil
}
