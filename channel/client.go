package channel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// ErrNotPublic is the error with which the client of NewHTTPClient refuses to connect.
var ErrNotPublic = errors.New("address not allowed for webhooks")

// Limits of one request. The deadline of a webhook, SendTime, is shorter than requestTimeout, which bounds requests
// without a deadline.
const (
	dialTimeout    = 10 * time.Second // for name, connection and TLS together
	requestTimeout = 60 * time.Second // for all of it, reading the body included
	maxHeaderBytes = 64 << 10         // of the answer
)

// Limits of connections that wait for another request.
const (
	idleTimeout    = 30 * time.Second // below the 60 s after which many load balancers silently drop a connection
	maxIdle        = 512
	maxIdlePerHost = 64 // all Slack webhooks share one host
)

// NewHTTPClient returns the client for webhooks, whose URLs come from users. At every connection, after DNS, it
// accepts only public addresses with https on port 443 and, inside the networks allowed, any address with http or https
// on any port; the error otherwise is ErrNotPublic. It uses no proxy, because a proxy would connect without this check,
// and follows no redirect. It is safe for concurrent use.
func NewHTTPClient(allowed []netip.Prefix) *http.Client {
	g := newGuard(allowed)
	return newClient(
		&net.Dialer{Timeout: dialTimeout, Control: g.plain},
		&net.Dialer{Timeout: dialTimeout, Control: g.encrypted},
	)
}

// NewOperatorClient returns a client for addresses that the operator has chosen, such as that of Mailgun, and for
// webhooks behind a proxy of the operator, which then guards them. It connects to any address, through the proxy that
// the function proxy returns for it; a nil function means no proxy. Like that of NewHTTPClient it follows no redirect.
func NewOperatorClient(proxy func(to *url.URL) (*url.URL, error)) *http.Client {
	d := &net.Dialer{Timeout: dialTimeout}
	c := newClient(d, d)
	if proxy != nil {
		t := c.Transport.(answersOnly).Transport
		t.Proxy = func(r *http.Request) (*url.URL, error) { return proxy(r.URL) }
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		t.TLSHandshakeTimeout = dialTimeout
		t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode != http.StatusOK {
				return &proxyError{answer.StatusCode}
			}
			return nil
		}
	}
	return c
}

// proxyError is a proxy's refusal to connect.
type proxyError struct{ status int }

func (e *proxyError) Error() string { return fmt.Sprintf("the proxy answered %d", e.status) }

func newClient(plain, encrypted *net.Dialer) *http.Client {
	secure := &tls.Dialer{NetDialer: encrypted, Config: &tls.Config{MinVersion: tls.VersionTLS12}}
	return &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: answersOnly{&http.Transport{
			Proxy:                  nil,
			DialContext:            plain.DialContext,
			DialTLSContext:         secure.DialContext,
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    maxIdlePerHost,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
		}},
	}
}

// answersOnly closes the connection of an answer 101, after which the receiver speaks another protocol: http.Transport
// does not close it, and no time-out would end reading from it.
type answersOnly struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t answersOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		_ = resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp, err
}

// guard checks addresses after DNS has resolved them, so neither a name whose addresses change nor an unusual spelling
// of an address gets past it.
type guard struct {
	allowed []netip.Prefix
	inside  *ssrf.Guardian // for addresses inside allowed
	outside *ssrf.Guardian // for all others
}

func newGuard(allowed []netip.Prefix) *guard {
	var v4, v6 []netip.Prefix
	for _, p := range allowed {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return &guard{
		allowed: allowed,
		inside:  ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...)),
		outside: ssrf.New(ssrf.WithPorts(443)),
	}
}

// plain is the net.Dialer.Control of connections for http.
func (g *guard) plain(network, address string, c syscall.RawConn) error {
	if !g.within(address) {
		return ErrNotPublic
	}
	return refusal(g.inside.Safe(network, address, c))
}

// encrypted is the net.Dialer.Control of connections for https.
func (g *guard) encrypted(network, address string, c syscall.RawConn) error {
	if g.within(address) {
		return refusal(g.inside.Safe(network, address, c))
	}
	return refusal(g.outside.Safe(network, address, c))
}

func (g *guard) within(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && contains(g.allowed, a.Addr())
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// refusal replaces the error of ssrf, whose text names the address, which must not be stored.
func refusal(err error) error {
	if err != nil {
		return ErrNotPublic
	}
	return nil
}
