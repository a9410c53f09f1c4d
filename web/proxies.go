package web

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
)

// behindProxies lets next see requests as if there were no reverse proxy: with the address of the client, and without
// the path of the base URL, whether or not the proxy has taken that away.
func (s *server) behindProxies(next http.Handler, trusted []netip.Prefix) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner := *r
		inner.RemoteAddr = clientAddress(r, trusted)
		if s.basePath != "" {
			u := *r.URL
			inner.URL = &u
			for _, p := range []*string{&u.Path, &u.RawPath} {
				if rest, found := strings.CutPrefix(*p, s.basePath); found && (rest == "" || rest[0] == '/') {
					*p = rest
				}
			}
			if u.Path == "" || u.Path == monitorPath || !isClean(u.Path) { // http.ServeMux would lead out of the base URL
				s.redirectClean(w, &inner)
				return
			}
		}
		next.ServeHTTP(w, &inner)
	})
}

func isClean(p string) bool {
	return p == "/" || path.Clean(p) == strings.TrimSuffix(p, "/")
}

// redirectClean leads to the same place by its proper path. One slash begins it: two would lead to another host.
func (s *server) redirectClean(w http.ResponseWriter, r *http.Request) {
	clean := path.Clean("/" + r.URL.Path)
	if clean != "/" && (clean == monitorPath || strings.HasSuffix(r.URL.Path, "/")) {
		clean += "/"
	}
	to := url.URL{Path: s.basePath + clean, RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// clientAddress returns where a request comes from, in the form of http.Request.RemoteAddr: the peer, or, where that
// is a trusted proxy, the rightmost address in X-Forwarded-For that is not. What stands left of it, the client may
// have made up.
func clientAddress(r *http.Request, trusted []netip.Prefix) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	client, err := netip.ParseAddr(host)
	if err != nil || !isTrusted(client, trusted) {
		return r.RemoteAddr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		address, ok := parseHop(hop)
		if !ok {
			break // the proxy did not write this
		}
		client = address
		if !isTrusted(client, trusted) {
			break
		}
	}
	return net.JoinHostPort(client.Unmap().WithZone("").String(), "0")
}

// parseHop reads an address, which some proxies write with a port or in brackets.
func parseHop(hop string) (netip.Addr, bool) {
	hop = strings.TrimSpace(hop)
	if a, err := netip.ParseAddrPort(hop); err == nil {
		return a.Addr(), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]"))
	return a, err == nil
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}
