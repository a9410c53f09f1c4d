package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestMemoryOfWeb: whatever eight callers send at once, a web process stays small.
func TestMemoryOfWeb(t *testing.T) {
	t.Parallel()
	const most = 200 // MiB
	d := newDeployment(t, "DATABASE_URL="+testenv.PostgresURL(t, testenv.MigrateSchema), "REDIS_URL="+testenv.Redis(t).URL())
	d.web = start(t, d.env, "web")
	d.ready()
	d.call(http.MethodPut, "/api/v1/products/1", object{"name": "Shop"}, nil)
	for _, c := range []struct {
		name, method, path string
		lines              bool
		body               []byte
	}{
		{"ids to be marked", "POST", "/notifications/viewed", false, filled(1<<20, `{"ids":[`, "1,", "1]}")},
		{"ids to be deleted", "POST", "/notifications/delete", false, filled(1<<20, `{"ids":[`, "1,", "1]}")},
		{"statuses", "PATCH", "/settings", false, filled(1<<20, `{"observation_title_notification_statuses":[`, `"Open",`, `"Open"]}`)},
		{"names", "PATCH", "/settings", false, filled(1<<20, `{`, `"a":1,`, `"a":1}`)},
		{"a text", "POST", "/exceptions", false, filled(8<<20, `{"class":"E","message":"`, "ü", `"}`)},
		{"an object of arguments", "POST", "/task-exceptions", false, filled(8<<20, `{"class":"E","arguments":{`, `"a":[1],`, `"a":1}}`)},
		{"a list of arguments", "POST", "/task-exceptions", false, filled(8<<20, `{"class":"E","arguments":[`, "1,", "1]}")},
		{"arguments that are read", "POST", "/task-exceptions", false, filled(256<<10, `{"class":"E","arguments":{"a":[`, "1,", "1]}}")},
		{"observations", "POST", "/observations", false, observations(10_000, 800, "x", `{"observations":[`, ",", "]}")},
		{"lines with long titles", "POST", "/observations", true, observations(100, 10_000, "🚨", "", "\n", "\n")},
	} {
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				var body any = json.RawMessage(c.body)
				if c.lines {
					body = bytes.NewReader(c.body)
				}
				status, answer, err := d.try(c.method, "/api/v1"+c.path, body)
				if err != nil || status >= 500 {
					t.Errorf("%s: %d %.200s %v", c.name, status, answer, err)
				}
			})
		}
		callers.Wait()
		peak := peakMemory(t, d.web)
		t.Logf("%s: %.0f MiB", c.name, peak)
		if peak > most {
			t.Errorf("%s: the process had %.0f MiB, more than %d", c.name, peak, most)
		}
	}
}

// filled is a body of almost size bytes, with repeat again and again between its ends.
func filled(size int, open, repeat, end string) []byte {
	return []byte(open + strings.Repeat(repeat, (size-len(open)-len(end))/len(repeat)) + end)
}

// observations are n observations with titles of so many times a text.
func observations(n, times int, text, open, between, end string) []byte {
	list, title := make([]string, n), strings.Repeat(text, times)
	for i := range list {
		list[i] = fmt.Sprintf(`{"id":%d,"product_id":1,"title":"%s","severity":"High","status":"Open","priority":null,"parser_type":"SCA"}`, i+1, title)
	}
	return []byte(open + strings.Join(list, between) + end)
}
