package web_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/web"
)

// TestClientInLog: the line of a request names the client that a trusted proxy reports, and else the peer.
func TestClientInLog(t *testing.T) {
	t.Parallel()
	for trusted, want := range map[string]string{"127.0.0.0/8": "198.51.100.7", "192.0.2.0/24": "127.0.0.1"} {
		e := newEnv(t, testenv.SQLiteDB(t), func(c *web.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(trusted)} })
		e.want(200, "GET", "/api/v1/products", nil, "X-Forwarded-For", "198.51.100.7")
		if !strings.Contains(e.log.String(), `"client":"`+want+`"`) {
			t.Errorf("proxies in %s: %s", trusted, e.log)
		}
	}
}
