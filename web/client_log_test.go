package web_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

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

// TestPathInLog: the line of a request has its path, without what may be a key; those of static files are for debugging.
func TestPathInLog(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	const key = "0123456789abcdef0123456789abcdef"
	for path, want := range map[string]string{
		"/api/v1/products/7?limit=s3cr3t": `"level":"info","request_id":"*","method":"GET","route":"GET /api/v1/products/{id}","path":"/api/v1/products/7","status":422`,
		"/unsubscribe/4/" + key:           `"path":"/unsubscribe/4/…","status":404`,
		"/sub/unsubscribe/4/s3cr3t":       `"path":"","status":404`,
		"/api/v1/products/7/s3cr3t":       `"path":"","status":404`,
		"/static/tocsin.css":              `"level":"debug","request_id":"*","method":"GET","route":"GET /static/{name}","path":"/static/…","status":200`,
		"/healthz":                        `"level":"debug","request_id":"*","method":"GET","route":"GET /healthz","path":"/healthz","status":200`,
	} {
		id := e.send("GET", path, nil).header.Get("X-Request-Id")
		testenv.Eventually(t, 10*time.Second, func() error {
			if log := strings.ReplaceAll(e.log.String(), id, "*"); !strings.Contains(log, want) {
				return fmt.Errorf("no %s in\n%s", want, log)
			}
			return nil
		}, "the request is logged")
	}
	for _, secret := range []string{key, "s3cr3t"} {
		if strings.Contains(e.log.String(), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
}
