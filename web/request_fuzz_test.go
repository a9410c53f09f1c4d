package web_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/web"
)

// FuzzRequest sends anything to every route. What it answers is no fault of ours, and repeats no secret.
func FuzzRequest(f *testing.F) {
	rows := slices.DeleteFunc(slices.Concat(matrix, outside, pages), func(r matrixRow) bool { return strings.HasSuffix(r.call, "/stream") })
	for i, row := range rows {
		f.Add(uint16(i), "1", "", "application/json", row.body)
	}
	for i := range matrix {
		f.Add(uint16(i), "9007199254740992", "limit=0&cursor=%00&sort=x&since=1&q=%25_%5C&type=&state=x", "application/x-ndjson", "{}\n[1]\n")
		f.Add(uint16(i), "%2e%2e%2f1", "limit=250&q=%ff%00&product_id=1e3", "application/x-www-form-urlencoded; charset=\"", "a=%zz&b="+secrets[0])
	}
	db := testenv.SQLiteDB(f)
	failures := new(syncBuffer)
	e := newEnv(f, db, func(c *web.Config) { c.Log = zerolog.New(failures).Level(zerolog.ErrorLevel) })
	e.product(1)
	e.want(202, http.MethodPost, postPath, wrapped(observation(1, 1, nil)))
	handler := e.server.Config.Handler
	f.Fuzz(func(t *testing.T, which uint16, id, query, media, body string) {
		method, path, _ := strings.Cut(rows[int(which)%len(rows)].call, " ")
		prefix := ""
		if int(which)%len(rows) < len(matrix) {
			prefix = "/api/v1"
		}
		path = prefix + strings.NewReplacer("{id}", id, "{username}", id, "{n}", "1").Replace(path)
		r, err := http.NewRequestWithContext(t.Context(), method, "http://tocsin.example"+path+"?"+query, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(r.URL.Path, "/") {
			return // no server gets to see it
		}
		r.Header.Set("Authorization", "Bearer "+adminToken)
		r.Header.Set("Content-Type", media)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code == 0 {
			t.Errorf("%s %s?%s %q: %d %s", method, path, query, body, w.Code, w.Body)
		}
		for _, secret := range secrets {
			if strings.Contains(w.Body.String(), secret) && !strings.Contains(query+id, secret) {
				t.Errorf("%s %s: the answer repeats a secret: %s", method, path, w.Body)
			}
		}
		if text := failures.String(); text != "" {
			t.Fatalf("%s %s?%s %q: %s", method, path, query, body, text)
		}
	})
}
