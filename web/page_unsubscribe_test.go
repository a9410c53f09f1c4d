package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestUnsubscribe: the link in a mail needs no login; looking at it changes nothing.
func TestUnsubscribe(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("alex", false)
		e.user("root", true)
		enabled := func(path string) any { return e.asUser("root", 200, "GET", path, "")["enabled"] }
		link := func(body string) (page, api string) {
			sub := e.asUser("root", 201, "POST", "/subscriptions", body)
			id := int64(sub["id"].(float64))
			return fmt.Sprintf("/unsubscribe/%d/%s", id, e.vault.UnsubscribeKey(id)), fmt.Sprintf("/subscriptions/%d", id)
		}
		page, api := link(`{"username":"alex","name":"<b>Mine</b>","contacts":[{"channel":"email"}]}`)
		post := func(path, media, body string) (status int) {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.server.URL+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", media)
			req.Header.Set("Origin", "https://mail.example")
			client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			return res.StatusCode
		}
		form := "application/x-www-form-urlencoded"
		for _, c := range []struct{ media, body string }{
			{form, "List-Unsubscribe=One-Click"},
			{"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n"},
		} {
			if r := e.send("GET", page, nil); r.status != 200 || !strings.Contains(r.text, "&lt;b&gt;Mine") || !strings.Contains(r.text, "Unsubscribe?") {
				t.Errorf("page: %d %s", r.status, r.text)
			}
			if enabled(api) != true {
				t.Error("looking at the page disables the subscription")
			}
			if status := post(page, c.media, c.body); status != 200 || enabled(api) != false {
				t.Errorf("%s: %d, enabled: %v", c.media, status, enabled(api))
			}
			if r := e.send("GET", page, nil); !strings.Contains(r.text, "You are unsubscribed") {
				t.Errorf("page: %s", r.text)
			}
			e.asUser("alex", 200, "PATCH", api, `{"enabled":true}`)
		}
		if status := post(page, form, url.Values{"button": {"yes"}}.Encode()); status != 303 || enabled(api) != false {
			t.Errorf("the button: %d, enabled: %v", status, enabled(api))
		}
		team, teamAPI := link(`{"contacts":[{"channel":"email","address":"team@example.com"}]}`)
		for _, path := range []string{page + "x", page[:len(page)-1], "/unsubscribe/9999/" + page[strings.LastIndex(page, "/")+1:], team} {
			if status := post(path, form, ""); status != 404 {
				t.Errorf("%s: %d", path, status)
			}
		}
		if enabled(teamAPI) != true {
			t.Error("a link disables the subscription of a team")
		}
		e.asUser("alex", 204, "DELETE", api, "")
		if r := e.send("GET", page, nil); r.status != 404 {
			t.Errorf("of a deleted one: %d", r.status)
		}
	})
}
