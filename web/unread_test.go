package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// events reads server-sent events.
type events struct{ lines *bufio.Scanner }

func newEvents(res *http.Response) *events { return &events{bufio.NewScanner(res.Body)} }

// next returns the next event as "name data"; io.EOF where the stream has ended.
func (v *events) next() (string, error) {
	var name, data string
	for v.lines.Scan() {
		switch line := v.lines.Text(); {
		case line == "" && data != "":
			return name + " " + data, nil
		case strings.HasPrefix(line, "event: "):
			name = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data: "):
			data = strings.TrimPrefix(line, "data: ")
		}
	}
	if err := v.lines.Err(); err != nil {
		return "", err
	}
	return "", io.EOF
}

// stream opens a stream; the test ends it.
func (e *env) stream(header ...string) *events {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, e.server.URL+inboxPath+"/stream", nil)
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := e.client.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		e.t.Fatalf("the stream is answered %d, %v", res.StatusCode, res.Header)
	}
	return newEvents(res)
}

func (v *events) want(t *testing.T, count int) {
	t.Helper()
	got, err := v.next()
	if want := fmt.Sprintf(`unread {"count":%d}`, count); err != nil || got != want {
		t.Fatalf("event %q (%v), want %q", got, err, want)
	}
}

func TestStream(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		e.user("alex", false)
		alex, admin := e.stream(e.as("alex")...), e.stream()
		alex.want(t, 0)
		admin.want(t, 0)
		e.inventory()
		admin.want(t, 15)
		e.want(204, "POST", fmt.Sprintf("%s/%d/viewed", inboxPath, e.idOf("task 1")), nil)
		admin.want(t, 14)
		e.stream().want(t, 14) // a second one of the same caller
		e.want(204, "DELETE", fmt.Sprintf("%s/%d", inboxPath, e.idOf("task 2")), nil)
		admin.want(t, 13)
		e.want(204, "POST", inboxPath+"/viewed", `{"until":"2099-01-01T00:00:00Z"}`)
		admin.want(t, 0)
		e.member(dbmodel.InProduct(1), "alex", rule.Reader)
		e.notify(dbmodel.NewNotification{Notification: dbmodel.Notification{Type: rule.TypeTask, Name: "more", ProductID: new(int64(1))}})
		alex.want(t, 3) // what he sees from today on, and what came
		admin.want(t, 1)
	})
}

func TestStreamEndsWithItsCaller(t *testing.T) {
	both(t, func(t *testing.T, e *env) {
		end := func(v *events) {
			t.Helper()
			if got, err := v.next(); err != io.EOF { //nolint:errorlint // next returns it as it is
				t.Errorf("the stream goes on: %q, %v", got, err)
			}
		}
		e.user("alex", false)
		e.user("bob", false)
		alex, bob := e.stream(e.as("alex")...), e.stream(e.as("bob")...)
		alex.want(t, 0)
		bob.want(t, 0)
		if _, err := e.db.NewRaw("DELETE FROM tokens WHERE user_id = (SELECT id FROM users WHERE username = 'alex')").Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		end(alex)
		e.want(204, "DELETE", "/api/v1/users/bob", nil)
		end(bob)

		admin := e.stream()
		admin.want(t, 0)
		close(e.stopping)
		end(admin)
	})
}
