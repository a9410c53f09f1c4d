package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// metrics are what one run measured; "rate", or what figure.value names, is what is compared.
type metrics map[string]float64

// contender is what is measured, in turn with the others of its figure.
type contender struct {
	name string
	run  func(*bench) (metrics, error)
}

// figure is one comparison.
type figure struct {
	name    string
	about   string
	value   string // the metric that is compared
	less    bool   // less is better
	product func(b *bench, binary string) (metrics, error)
	peers   []contender
	limits  map[string]float64 // ratio to reach beside a peer
}

const baselineName = "baseline"

var figures = []figure{
	{
		name: "import", about: "an import, a tenth of it matching, until all is delivered; rows/s", value: "rate",
		product: func(b *bench, binary string) (metrics, error) {
			return b.importAll(binary, roles{workers: b.workers, scheduler: true}, 10)
		},
		peers: []contender{{"river", runRiver}, {"asynq", runAsynq}}, limits: map[string]float64{"river": 1.4, "asynq": 3.2},
	},
	{
		name: "accept", about: "accept alone, beside COPY with 1,000 rows a commit; rows for each CPU second of PostgreSQL",
		value:   "rows_per_database_cpu",
		product: (*bench).acceptAlone, peers: []contender{{"copy", runCopy}}, limits: map[string]float64{"copy": 0.6},
	},
	{
		name: "unchanged", about: "the same file again; rows/s", value: "rate",
		product: (*bench).unchanged, peers: []contender{{"asynq", runAsynq}}, limits: map[string]float64{"asynq": 12},
	},
	{
		name: "matching", about: "an import where everything matches: a notification and two deliveries for each row; " +
			"rows/s", value: "rate",
		product: func(b *bench, binary string) (metrics, error) {
			return b.importAll(binary, roles{workers: b.workers, scheduler: true}, 1)
		},
		limits: map[string]float64{baselineName: 1.8},
	},
	{
		name: "embedded", about: "the import with serve, on SQLite; rows/s", value: "rate",
		product: func(b *bench, binary string) (metrics, error) { return b.importAll(binary, roles{embedded: true}, 10) },
		limits:  map[string]float64{baselineName: 3},
	},
	{
		name: "webhook", about: "messages to one webhook, digest off, rate 0; messages/s", value: "rate",
		product: (*bench).oneWebhook, peers: []contender{{"alertmanager", runAlertmanager}},
		limits: map[string]float64{baselineName: 4, "alertmanager": 0.6},
	},
	{
		name: "latency", about: "one event on an idle system, from its 202 to the receiver; ms", value: "p99_ms", less: true,
		product: (*bench).latency,
	},
	{
		name: "beside", about: "one event each second beside an import, from its 202 to the receiver; p99 over p99 without " +
			"it", value: "p99_ratio", less: true,
		product: (*bench).beside,
	},
	{
		name: "idle", about: "CPU of an idle product; seconds a minute of scheduler, worker and serve", value: "scheduler",
		less:    true,
		product: (*bench).idleCPU,
	},
}

// importAll imports until everything is delivered; one of so many rows matches. Its clock stops when the last message
// has reached the receiver, as those of runRiver and runAsynq stop when the last job has run. "recorded" is the rate
// until the results are in the database, too.
func (b *bench) importAll(binary string, r roles, every int) (metrics, error) {
	p, err := b.startProduct(binary, r)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := p.prepare(); err != nil {
		return nil, err
	}
	p.mark()
	began := time.Now()
	if err := p.post(newLines(1, b.rows, every, b.title)); err != nil {
		return nil, err
	}
	accepted := time.Since(began)
	if err := p.idle(); err != nil {
		return nil, err
	}
	recorded := time.Since(began)
	took := max(accepted, time.Unix(0, p.receiver.last.Load()).Sub(began))
	database, all := p.cpu()
	m := metrics{
		"rate": float64(b.rows) / took.Seconds(), "accepted": float64(b.rows) / accepted.Seconds(),
		"recorded": float64(b.rows) / recorded.Seconds(), "cpu": all, "database_cpu": database,
		"messages": float64(p.receiver.webhooks.Load() + p.receiver.mails.Load()), "web_MiB": p.web.peak(),
	}
	if len(p.workers) > 0 {
		m["worker_MiB"] = p.workers[0].peak()
	}
	return m, nil
}

// prepare makes the products and, with -stored, rows of before.
func (p *product) prepare() error {
	if err := p.setUp("Critical"); err != nil || p.b.stored == 0 || p.database == "" {
		return err
	}
	return p.b.pg.exec(p.database, fmt.Sprintf(`
		INSERT INTO observations (id, product_id, title, title_hash, severity, status, parser_type)
		SELECT 1000000000 + i, i %% %d + 1, 'CVE-2025-' || i, hashint8extended(i, 0), 'Low', 'Open', 'SCA'
		FROM generate_series(1, %d) i`, products, p.b.stored),
		"VACUUM ANALYZE observations", "CHECKPOINT")
}

func (b *bench) acceptAlone(binary string) (metrics, error) {
	p, err := b.startProduct(binary, roles{})
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := p.prepare(); err != nil {
		return nil, err
	}
	p.mark()
	began := time.Now()
	if err := p.post(newLines(1, b.rows, 10, b.title)); err != nil {
		return nil, err
	}
	took := time.Since(began)
	database, all := p.cpu()
	return metrics{
		"rate": float64(b.rows) / took.Seconds(), "rows_per_database_cpu": float64(b.rows) / database, "cpu": all,
	}, nil
}

func (b *bench) unchanged(binary string) (metrics, error) {
	p, err := b.startProduct(binary, roles{workers: b.workers, scheduler: true})
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := p.prepare(); err != nil {
		return nil, err
	}
	if err := p.post(newLines(1, b.rows, 10, b.title)); err != nil {
		return nil, err
	}
	if err := p.idle(); err != nil {
		return nil, err
	}
	p.mark()
	began := time.Now()
	if err := p.post(newLines(1, b.rows, 10, b.title)); err != nil {
		return nil, err
	}
	took := time.Since(began)
	_, all := p.cpu()
	return metrics{"rate": float64(b.rows) / took.Seconds(), "cpu": all}, nil
}

// withoutDigests switches digests off: each notification is a message of its own.
func (p *product) withoutDigests() error {
	return p.json(http.MethodPatch, "/api/v1/settings", object{"digest_threshold": 0})
}

// oneProduct makes product 1 with one webhook and no other contact.
func (p *product) oneProduct(path string) error {
	return p.json(http.MethodPut, "/api/v1/products/1", object{
		"name": "Product", "observation_notification_min_severity": "Critical",
		"notification_slack_webhook": p.receiver.URL + path, "notification_email_to": "",
	})
}

// startWithOneWebhook starts the roles of a binary, whose product 1 has a webhook of its own beside the others.
func (b *bench) startWithOneWebhook(binary, minSeverity, path string) (*product, error) {
	p, err := b.startProduct(binary, roles{workers: b.workers, scheduler: true})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(p.setUp(minSeverity), p.oneProduct(path)); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (b *bench) oneWebhook(binary string) (metrics, error) {
	p, err := b.startWithOneWebhook(binary, "Unknown", "/all")
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := p.withoutDigests(); err != nil {
		return nil, err
	}
	p.mark()
	began := time.Now()
	lines := newLines(1, b.messages, 1, b.title)
	lines.single = true
	if err := p.post(lines); err != nil {
		return nil, err
	}
	if err := p.receiver.waitFor(b.messages); err != nil {
		return nil, err
	}
	took := time.Since(began)
	if err := p.idle(); err != nil {
		return nil, err
	}
	database, all := p.cpu()
	return metrics{"rate": float64(b.messages) / took.Seconds(), "cpu": all, "database_cpu": database}, nil
}

// one reports a single Critical observation of product 1 and returns how long it takes from the answer to the receiver.
func (p *product) one(id int) (time.Duration, error) {
	err := p.json(http.MethodPost, "/api/v1/observations", object{"observations": []object{{
		"id": id, "product_id": 1, "title": "CVE-" + strconv.Itoa(id), "severity": "Critical", "status": "Open",
		"priority": nil, "parser_type": "SCA",
	}}})
	answered := time.Now()
	if err != nil {
		return 0, err
	}
	select {
	case came := <-p.receiver.single:
		return max(0, came.Sub(answered)), nil
	case <-time.After(time.Minute):
		return 0, fmt.Errorf("event %d does not reach the receiver within a minute", id)
	}
}

func (b *bench) latency(binary string) (metrics, error) {
	p, err := b.startProduct(binary, roles{workers: b.workers, scheduler: true})
	if err != nil {
		return nil, err
	}
	defer p.stop()
	if err := p.oneProduct("/one"); err != nil {
		return nil, err
	}
	took, err := p.events(300, 30*time.Millisecond, nil)
	if err != nil {
		return nil, err
	}
	return metrics{"p50_ms": ms(quantile(took, 0.5)), "p99_ms": ms(quantile(took, 0.99))}, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// events reports n events, or events until the end of something, with a pause behind each.
func (p *product) events(n int, pause time.Duration, end <-chan error) (took []time.Duration, err error) {
	for i := range n {
		one, err := p.one(2_000_000_000 + int(time.Now().UnixMilli()%1_000_000_000) + i)
		if err != nil {
			return nil, err
		}
		took = append(took, one)
		select {
		case err := <-end:
			return took, err
		case <-time.After(pause):
		}
	}
	return took, nil
}

// beside measures single events first alone, and then beside an import of ten times -rows, whose products have other
// webhooks.
func (b *bench) beside(binary string) (metrics, error) {
	p, err := b.startWithOneWebhook(binary, "Critical", "/one")
	if err != nil {
		return nil, err
	}
	defer p.stop()
	alone, err := p.events(30, 200*time.Millisecond, nil)
	if err != nil {
		return nil, err
	}
	end := make(chan error, 1)
	go func() {
		lines := newLines(1, 10*b.rows, 10, b.title)
		lines.others = true
		err := p.post(lines)
		if err == nil {
			err = p.idle()
		}
		end <- err
	}()
	beside, err := p.events(1_000_000, time.Second, end)
	if err != nil {
		return nil, err
	}
	m := metrics{
		"alone_p50_ms": ms(quantile(alone, 0.5)), "alone_p99_ms": ms(quantile(alone, 0.99)),
		"p50_ms": ms(quantile(beside, 0.5)), "p99_ms": ms(quantile(beside, 0.99)), "events": float64(len(beside)),
	}
	m["p99_ratio"] = m["p99_ms"] / m["alone_p99_ms"]
	return m, nil
}

func (b *bench) idleCPU(binary string) (metrics, error) {
	p, err := b.startProduct(binary, roles{workers: 1, scheduler: true})
	if err != nil {
		return nil, err
	}
	defer p.stop()
	one, err := b.startProduct(binary, roles{embedded: true})
	if err != nil {
		return nil, err
	}
	defer one.stop()
	time.Sleep(5 * time.Second) // what a start does is done
	watched := map[string]*program{"scheduler": p.scheduler, "worker": p.workers[0], "web": p.web, "serve": one.web}
	before := metrics{}
	for name, w := range watched {
		before[name] = w.cpu()
	}
	time.Sleep(b.idleTime)
	m := metrics{}
	for name, w := range watched {
		m[name] = (w.cpu() - before[name]) * time.Minute.Seconds() / b.idleTime.Seconds()
	}
	return m, nil
}
