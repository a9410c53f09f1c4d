package web_test

import (
	"regexp"
	"strings"
	"testing"
)

// What no browser sends changes nothing, and does not pass as done; an odd address is nothing, not a fault of ours.
func TestOddRequests(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.shop()
		for _, c := range []struct {
			call, body, media string
			status            int
		}{
			{"POST /settings", `{"email_from":"tocsin@example.com"}`, "application/json", 415},
			{"POST /products/1", "--x\r\nContent-Disposition: form-data; name=\"notification_email_to\"\r\n\r\nalex@example.com\r\n--x--\r\n", "multipart/form-data; boundary=x", 415},
			{"POST /settings", "email_from=tocsin@example.com", "text/plain", 415},
			{"POST /settings", "email_from=" + strings.Repeat("x", 1<<20), formType, 413},
			{"POST /settings", "email_from=%zz", formType, 400},
			{"POST /settings", "email_from=", formType + "; charset=utf-8", 303},
			{"GET /users/%00", "", "", 404},
			{"GET /users/%ff", "", "", 404},
			{"POST /users/%ff/password", "", "", 404},
			{"POST /products/1/members/remove", "username=%ff%00", formType, 404},
			{"POST /products/1/members", "username=%ff%00&role=reader", formType, 422},
			{"GET /?since=x", "", "", 422},
			{"GET /?q=%ff%00&user=%ff&product=%00", "", "", 200},
			{"GET /products?q=%ff%00&after=-1", "", "", 200},
			{"GET /products/9223372036854775808", "", "", 404},
			{"GET /products/01", "", "", 404},
			{"GET /products/1%2f", "", "", 404},
			{"GET /static/..%2fpage.go", "", "", 404},
		} {
			method, path, _ := strings.Cut(c.call, " ")
			if r := e.send(method, path, c.body, "Content-Type", c.media); r.status != c.status {
				t.Errorf("%s %.40s is answered %d: %s", c.call, c.body, r.status, r.text)
			}
		}
		if got := e.want(200, "GET", "/api/v1/settings", nil).json["email_from"]; got != "" {
			t.Errorf("stored: %v", got)
		}
	})
}

// What a browser may keep for ever is what its address says: another version of Tocsin answers otherwise.
func TestStatic(t *testing.T) {
	t.Parallel()
	e := newSQLiteEnv(t)
	assets := regexp.MustCompile(`/static/[^"]+`).FindAllString(e.send("GET", "/login", nil).text, -1)
	if len(assets) != 3 {
		t.Fatalf("the page has %q", assets)
	}
	for _, address := range assets {
		if r := e.send("GET", address, nil); r.status != 200 || !strings.Contains(r.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %s", address, r.status, r.header.Get("Cache-Control"))
		}
		if r := e.send("GET", address+"0", nil); r.status != 200 || strings.Contains(r.header.Get("Cache-Control"), "max-age") {
			t.Errorf("another version of %s: %d %s", address, r.status, r.header.Get("Cache-Control"))
		}
	}
}
