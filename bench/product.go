package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	adminToken = "token-of-the-administrator"
	secretKey  = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
)

// product is a running Tocsin: its roles over PostgreSQL and Redis, or all of it in one process.
type product struct {
	b         *bench
	url       string
	database  string // name; empty: SQLite
	receiver  *receiver
	redis     *program
	web       *program // serve, where all is one process
	workers   []*program
	scheduler *program
	folder    string
	before    [3]float64 // CPU at the last mark: PostgreSQL, Redis, the product
}

// roles says which processes of a product run.
type roles struct {
	embedded  bool
	workers   int
	scheduler bool
}

// startProduct starts a binary on an empty database.
func (b *bench) startProduct(binary string, r roles) (p *product, err error) {
	p = &product{b: b}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	if p.receiver, err = newReceiver(); err != nil {
		return nil, err
	}
	if p.folder, err = os.MkdirTemp(b.dir, "product-"); err != nil {
		return nil, err
	}
	port := freePort()
	p.url = "http://127.0.0.1:" + port
	env := []string{
		"TOCSIN_LISTEN=127.0.0.1:" + port, "TOCSIN_ADMIN_TOKEN=" + adminToken, "TOCSIN_SECRET_KEY=" + secretKey,
		"TOCSIN_WEBHOOK_ALLOWED_NETWORKS=127.0.0.0/8", "SMTP_URL=smtp://" + p.receiver.mailAddr + "?tls=none",
		"TOCSIN_SLACK_RATE=0", "TOCSIN_MS_TEAMS_RATE=0", "TOCSIN_LOG_LEVEL=warn",
		"TOCSIN_DATA_DIR=" + p.folder, "HOME=" + p.folder, "TMPDIR=" + p.folder,
	}
	if r.embedded {
		if p.web, err = startProgram(p.folder, env, nil, binary, "serve"); err != nil {
			return nil, err
		}
		return p, p.web.until(func() error { return get(p.url + "/readyz") })
	}
	var databaseURL, redisURL string
	if databaseURL, p.database, err = b.pg.newDatabase(); err != nil {
		return nil, err
	}
	if p.redis, redisURL, err = startRedis(p.folder); err != nil {
		return nil, err
	}
	env = append(env, "DATABASE_URL="+databaseURL, "REDIS_URL="+redisURL)
	return p, p.startRoles(binary, env, r)
}

func (p *product) startRoles(binary string, env []string, r roles) error {
	start := func(args ...string) (*program, error) { return startProgram(p.folder, env, nil, binary, args...) }
	migrate, err := start("migrate", "up")
	if err != nil {
		return err
	}
	<-migrate.done
	if p.web, err = start("web"); err != nil {
		return err
	}
	for range r.workers {
		w, err := start("worker")
		if err != nil {
			return err
		}
		p.workers = append(p.workers, w)
	}
	if r.scheduler {
		if p.scheduler, err = start("scheduler"); err != nil {
			return err
		}
	}
	return p.web.until(func() error { return get(p.url + "/readyz") })
}

func (p *product) stop() {
	for _, one := range append(p.workers, p.web, p.scheduler) {
		if one != nil {
			one.stop(syscall.SIGTERM)
		}
	}
	if p.redis != nil {
		p.redis.stop(syscall.SIGKILL)
	}
	if p.receiver != nil {
		p.receiver.close()
	}
	if p.database != "" {
		p.b.pg.drop(p.database)
	}
	_ = os.RemoveAll(p.folder)
}

// mark is the beginning of what cpu measures.
func (p *product) mark() { p.before = p.used() }

func (p *product) used() (u [3]float64) {
	if p.database != "" {
		u[0] = p.b.pg.cpu()
	}
	if p.redis != nil {
		u[1] = p.redis.cpu()
	}
	for _, one := range append([]*program{p.web, p.scheduler}, p.workers...) {
		if one != nil {
			u[2] += one.cpu()
		}
	}
	return u
}

// cpu is the CPU time since mark, of PostgreSQL and of everything, in seconds.
func (p *product) cpu() (database, all float64) {
	now := p.used()
	for i := range now {
		all += now[i] - p.before[i]
	}
	return now[0] - p.before[0], all
}

type object = map[string]any

// call calls the HTTP interface; the answer is read into out, if given.
func (p *product) call(method, path string, body io.Reader, contentType string, out any) error {
	r, err := http.NewRequest(method, p.url+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+adminToken)
	r.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, response.Status, answer)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(answer, out)
	}
	return err
}

func (p *product) json(method, path string, body object) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return p.call(method, path, bytes.NewReader(text), "application/json", nil)
}

// products is how many products an import is about.
const products = 50

// setUp makes the products, each with a mail address and a Slack webhook; minSeverity is what they are notified of.
func (p *product) setUp(minSeverity string) error {
	err := p.json(http.MethodPatch, "/api/v1/settings", object{"email_from": "tocsin@example.com"})
	for i := 1; i <= products && err == nil; i++ {
		err = p.json(http.MethodPut, "/api/v1/products/"+strconv.Itoa(i), object{
			"name": "Product " + strconv.Itoa(i), "observation_notification_min_severity": minSeverity,
			"notification_email_to":      fmt.Sprintf("team%d@example.com", i),
			"notification_slack_webhook": fmt.Sprintf("%s/slack/%d", p.receiver.URL, i),
		})
	}
	return err
}

// post imports observations.
func (p *product) post(lines io.Reader) error {
	return p.call(http.MethodPost, "/api/v1/observations", lines, "application/x-ndjson", nil)
}

// idle waits until nothing is left to do, and returns an error where something failed.
func (p *product) idle() error {
	for end := time.Now().Add(15 * time.Minute); time.Now().Before(end); {
		var s struct {
			Outbox            int `json:"outbox"`
			FailedEvents      int `json:"failed_events"`
			PendingDeliveries int `json:"pending_deliveries"`
			FailedDeliveries  int `json:"failed_deliveries"`
		}
		asked := time.Now()
		if err := p.call(http.MethodGet, "/api/v1/status", nil, "", &s); err != nil {
			return err
		}
		if s.FailedEvents+s.FailedDeliveries > 0 {
			return fmt.Errorf("something failed: %+v: %s", s, p.logs())
		}
		if s.Outbox+s.PendingDeliveries == 0 {
			return nil
		}
		// To count much that waits costs the database something, too: at most a twentieth of the time goes there.
		time.Sleep(20*time.Millisecond + min(20*time.Since(asked), time.Second))
	}
	return errors.New("it does not come to an end: " + p.logs())
}

// logs is the end of what the processes logged.
func (p *product) logs() string {
	var all strings.Builder
	found, _ := filepath.Glob(filepath.Join(p.folder, "*.log"))
	for _, name := range found {
		text, _ := os.ReadFile(name)
		all.Write(text[max(0, len(text)-2000):])
	}
	return all.String()
}

// lines is a stream of observations, one a line, made while it is read.
type lines struct {
	next, end int  // ids
	every     int  // one of so many is Critical, the others are Low
	single    bool // all are of product 1
	others    bool // none is of product 1
	padding   string
	buffer    bytes.Buffer
}

// newLines is n observations, from the id first on, with titles of at least length characters.
func newLines(first, n, every, length int) *lines {
	return &lines{next: first, end: first + n, every: every, padding: strings.Repeat("x", max(0, length-40))}
}

func (l *lines) Read(b []byte) (int, error) {
	for l.buffer.Len() < len(b) && l.next < l.end {
		i := l.next
		l.next++
		severity := "Low"
		if i%l.every == 0 {
			severity = "Critical"
		}
		product := i/l.every%products + 1
		switch {
		case l.single:
			product = 1
		case l.others:
			product = i/l.every%(products-1) + 2
		}
		fmt.Fprintf(&l.buffer, `{"id":%d,"product_id":%d,"title":"CVE-2026-%d in package-%d%s","severity":%q,`+
			`"status":"Open","priority":null,"parser_type":"SCA","vulnerability_id":"CVE-2026-%d","cvss_score":7.5,`+
			`"origin":{"component":"package-%d:1.2.3"}}`+"\n",
			i, product, i, i%977, l.padding, severity, i, i%977)
	}
	return l.buffer.Read(b)
}
