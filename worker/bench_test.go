package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// BenchmarkSubscribers evaluates a chunk of an import, of which a tenth matches, in a database without subscriptions and
// in one with 10,000 users who have a subscription to everything, in 500 products: 20 of them see each. Nobody receives
// anything at once: the filters pass nothing, for their severity or for their type, or all waits for the slot of a daily
// digest. So what differs is what it takes to find that out. The chunk is of one product, as that of a scanner, or of
// all. Both are evaluated in turn, and nothing is kept.
func BenchmarkSubscribers(b *testing.B) {
	const products, users, chunk = 500, 10_000, accept.ChunkSize
	without := newImport(b, products, chunk, 0, "")
	for _, which := range []struct{ name, set string }{
		{"severity", "min_severity = 'Critical'"},
		{"type", `types = '["security_gate"]'`},
		{"schedule", "schedule = '0 8 * * *', next_slot_at = now() + interval '1 day'"},
	} {
		with := newImport(b, products, chunk, users, which.set)
		for name, first := range map[string]int64{"products=1": 1, fmt.Sprintf("products=%d", products): chunk + 1} {
			b.Run(which.name+"/"+name, func(b *testing.B) {
				var spent [2]time.Duration
				for b.Loop() {
					for i, one := range []*imported{without, with} {
						began := time.Now()
						one.evaluate(b, first, chunk)
						spent[i] += time.Since(began)
					}
				}
				b.ReportMetric(float64(spent[0].Microseconds())/float64(b.N), "µs-without/op")
				b.ReportMetric(float64(spent[1].Microseconds())/float64(b.N), "µs-with/op")
				b.ReportMetric(float64((spent[1]-spent[0]).Microseconds())/float64(b.N*chunk), "µs-more/observation")
			})
		}
	}
}

// imported is a worker whose database has an import that is to be evaluated.
type imported struct {
	w  *Worker
	db *dbmodel.DB
}

// newImport makes a database with two chunks of observations: the first is of one product, the second of all. set says
// what each user's subscription is.
func newImport(b *testing.B, products, chunk, users int, set string) *imported {
	b.Helper()
	db := testenv.PostgresDB(b)
	ctx := b.Context()
	exec := func(query string, args ...any) {
		b.Helper()
		if _, err := db.DB.DB.ExecContext(ctx, query, args...); err != nil {
			b.Fatal(err)
		}
	}
	vault, err := dbmodel.OpenVault(ctx, db, make([]byte, dbmodel.KeySize), nil)
	if err != nil {
		b.Fatal(err)
	}
	contacts, err := dbmodel.NewContacts(ctx, db, vault, rule.Slack, []string{"https://hooks.slack.com/services/T/B/x"})
	if err != nil {
		b.Fatal(err)
	}
	exec(`INSERT INTO products (id, name, observation_notification_min_severity) SELECT i, 'Product ' || i, 'High' FROM generate_series(1, $1::int) i`, products)
	exec(`INSERT INTO contacts (kind, product_id, channel, position, target_id) SELECT 'product', id, 'slack', 0, $1 FROM products`, contacts[0].Target)
	exec(`UPDATE settings SET email_from = 'tocsin@example.com', member_notification_types = '["observation"]'`)
	exec(`INSERT INTO observations (id, product_id, title, title_hash, severity, status, parser_type)
		SELECT i, CASE WHEN i <= $1::int THEN 1 ELSE i % $2::int + 1 END, 'CVE-' || i, i, CASE WHEN i % 10 = 0 THEN 'High' ELSE 'Low' END, 'Open', 'SCA'
		FROM generate_series(1, $1::int * 2) i`, chunk, products)
	exec(`INSERT INTO users (username, email) SELECT 'user-' || i, i || '@example.com' FROM generate_series(1, $1::int) i`, users)
	exec(`INSERT INTO product_members (product_id, user_id, role) SELECT id % $1::int + 1, id, 'reader' FROM users WHERE NOT is_admin`, products)
	exec(`INSERT INTO targets (channel, key, address) SELECT 'email', sha256(email::bytea), '' FROM users WHERE NOT is_admin`)
	exec(`INSERT INTO subscriptions (name, user_id) SELECT username, id FROM users WHERE NOT is_admin`)
	if set != "" {
		exec("UPDATE subscriptions SET " + set)
	}
	exec(`INSERT INTO contacts (kind, subscription_id, channel, position, target_id) SELECT 'subscription', s.id, 'email', 0, t.id
		FROM subscriptions s JOIN users u ON u.id = s.user_id JOIN targets t ON t.key = sha256(u.email::bytea)`)
	exec("ANALYZE")
	return &imported{New(Config{DB: db, Vault: vault, Log: zerolog.Nop()}), db}
}

// errUndone ends a transaction whose changes are not to be kept.
var errUndone = errors.New("undone")

// evaluate evaluates a chunk of observations, from the one with the id first on, and undoes that.
func (i *imported) evaluate(b *testing.B, first int64, chunk int) {
	b.Helper()
	event := &dbmodel.Event{Kind: dbmodel.KindObservation}
	for id := range int64(chunk) {
		event.Payload.IDs = append(event.Payload.IDs, first+id)
	}
	p, err := i.w.prepareObservations(b.Context(), event)
	if err != nil {
		b.Fatal(err)
	}
	err = i.db.InTx(b.Context(), func(ctx context.Context, tx bun.Tx) error {
		if _, err := i.w.evaluateObservations(ctx, tx, event, p); err != nil {
			return err
		}
		return errUndone
	})
	if !errors.Is(err, errUndone) {
		b.Fatal(err)
	}
}
