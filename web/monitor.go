package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"
)

// monitorPath is where asynqmon is.
const monitorPath = "/monitor"

// monitor returns asynqmon for administrators. write says that it may delete and run tasks, too.
func (s *server) monitor(client redis.UniversalClient, write bool) http.Handler {
	root := s.basePath + monitorPath // which its pages name
	pages := asynqmon.New(asynqmon.Options{
		RootPath: root, RedisConnOpt: sharedRedis{client}, ReadOnly: !write,
		PayloadFormatter: asynqmon.PayloadFormatterFunc(monitorPayload),
		ResultFormatter:  asynqmon.ResultFormatterFunc(func(string, []byte) string { return "" }),
	})
	html := monitorPage(pages, root)
	policy := monitorPolicy(html)
	page := s.pageFor(administrators, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(html) // a client that has gone needs no answer
		return nil
	})
	// A page of somebody else must not press a button here with the cookie of an administrator.
	guarded := http.NewCrossOriginProtection().Handler(pages)
	rest := s.authenticate(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !exchangeOf(r.Context()).caller.may(administrators) {
			refuse(w, forbidden("The monitor is for administrators only."))
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		if strings.HasPrefix(r.URL.Path, monitorPath+"/static/") { // their names hold a hash
			w.Header().Set("Cache-Control", "private, max-age=86400")
		}
		under := r.Clone(r.Context())
		under.URL.Path, under.URL.RawPath = s.basePath+r.URL.Path, ""
		guarded.ServeHTTP(w, under)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wantsPage(r) { // each address that a browser opens is the same page, whose script then shows what is meant
			page.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// sharedRedis gives asynqmon a client that is open already, whatever its kind. It is not closed by asynqmon.
type sharedRedis struct{ client redis.UniversalClient }

var _ asynq.RedisConnOpt = sharedRedis{}

// MakeRedisClient implements asynq.RedisConnOpt.
func (c sharedRedis) MakeRedisClient() any { return c.client }

// monitorPayload is how the payload of a task is shown: the ids in it and nothing else, whatever is in Redis.
func monitorPayload(_ string, payload []byte) string {
	var all map[string]json.RawMessage
	if json.Unmarshal(payload, &all) != nil {
		return "(not shown)"
	}
	shown := map[string]int64{}
	for _, name := range []string{"id", "product_id", "observation_id", "target_id"} {
		var id int64
		if value, there := all[name]; there && json.Unmarshal(value, &id) == nil {
			shown[name] = id
		}
	}
	b, err := json.Marshal(shown)
	if err != nil {
		return "(not shown)" // texts and numbers only
	}
	return string(b)
}

var (
	inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	// needless are the fonts that asynqmon would like to have from elsewhere, and what makes an application of it that is
	// installed on a phone.
	needless = regexp.MustCompile(`<link rel="(stylesheet" href="https:|manifest")[^>]*>`)
)

// monitorPage is the page of asynqmon without what it needs from elsewhere.
func monitorPage(pages http.Handler, root string) []byte {
	r, err := http.NewRequest(http.MethodGet, root+"/", nil) //nolint:noctx // it goes nowhere
	if err != nil {
		panic(fmt.Sprintf("web: the page of the monitor: %v", err)) // it is the same in every process
	}
	page := &pageBuffer{header: http.Header{}}
	pages.ServeHTTP(page, r)
	return needless.ReplaceAll(page.Bytes(), nil)
}

// monitorPolicy is the Content-Security-Policy for asynqmon: its own files, the scripts that stand in its page, by
// their hash, and the styles that these write into the page.
func monitorPolicy(page []byte) string {
	scripts := []string{"'self'"}
	for _, script := range inlineScript.FindAllSubmatch(page, -1) {
		hash := sha256.Sum256(script[1])
		scripts = append(scripts, "'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+"'")
	}
	return "default-src 'none'; script-src " + strings.Join(scripts, " ") +
		"; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// pageBuffer takes a page that nobody gets.
type pageBuffer struct {
	bytes.Buffer
	header http.Header
}

func (b *pageBuffer) Header() http.Header { return b.header }
func (b *pageBuffer) WriteHeader(int)     {}
