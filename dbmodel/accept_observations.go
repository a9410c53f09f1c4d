package dbmodel

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// StoredChunk is the result of AcceptObservations.
type StoredChunk struct {
	Changed    int   // observations that are new or differ
	PassedOver int   // observations that differ from the stored ones, which were reported later; see AcceptOptions
	EventID    int64 // the outbox row of those that changed; 0 where there are none
}

// AcceptOptions says how observations are accepted.
type AcceptOptions struct {
	Bulk     bool // part of an import: single events go first
	Baseline bool // observations that match are remembered without a notification
	Last     bool // the last part of an import
	Queued   bool // the caller enqueues a task for the event
	// TraceParent is EventPayload.TraceParent.
	TraceParent string
	// ReportedAt is when the web tier reported the observations, where they came through Redis and may have been
	// overtaken: then a stored observation that was reported later, but not after now, stays; this needs a transaction.
	// nil: now.
	ReportedAt *time.Time
}

// Kind returns the kind of the event that is stored for the observations that changed.
func (options AcceptOptions) Kind() EventKind {
	if options.Baseline {
		return KindBaseline
	}
	return KindObservation
}

// payload returns the payload of the event for a list of reported observations, still without the ids of those that
// changed.
func (options AcceptOptions) payload(list []Observation) EventPayload {
	payload := EventPayload{Last: options.Last, TraceParent: options.TraceParent}
	if !options.Baseline {
		return payload
	}
	payload.Reported = make(map[int64]rule.Values, len(list))
	for i := range list {
		payload.Reported[list[i].ID] = list[i].Rule().Values
	}
	return payload
}

const knownProducts = `
	WITH known AS MATERIALIZED (
		SELECT id, generation FROM products WHERE id = ANY (@products) ORDER BY id FOR KEY SHARE
	)`

// differsFromStored is the condition that a reported observation i differs from the stored one e.
const differsFromStored = `
		(e.product_id, e.title, e.severity, e.status, e.priority, e.parser_type, e.vulnerability_id, e.cvss_score,
			e.origin, e.url, e.known_exploited, e.details)
		IS DISTINCT FROM
		(i.product_id, i.title, i.severity, i.status, i.priority, i.parser_type, i.vulnerability_id, i.cvss_score,
			i.origin, i.url, i.known_exploited, i.details)`

// deletedWithProduct is the condition that the stored observation o was deleted with its product, and is not removed
// yet.
const deletedWithProduct = `EXISTS (
		SELECT 1 FROM deletions d WHERE d.product_id = o.product_id AND d.generation = o.generation)`

// upsertObservations inserts or updates the observations that differ, where all products are known, and returns their
// ids. A stored one that was reported later than @reported_at, but not after now, stays. One that was deleted with its
// product is always replaced, and loses the values last notified.
const upsertObservations = `
	INSERT INTO observations AS o (id, product_id, title, title_hash, severity, status, priority, parser_type,
		vulnerability_id, cvss_score, origin, url, known_exploited, details, reported_at, generation)
	SELECT i.id, i.product_id, i.title, i.title_hash, i.severity, i.status, i.priority, i.parser_type, i.vulnerability_id,
		i.cvss_score, i.origin, i.url, i.known_exploited, i.details,
		coalesce(@reported_at::timestamptz, clock_timestamp()), k.generation
	FROM @observations AS i LEFT JOIN known AS k ON k.id = i.product_id
	LEFT JOIN LATERAL (SELECT * FROM observations AS e WHERE e.id = i.id OFFSET 0) AS e ON true
	WHERE (SELECT count(*) FROM known) = @products_expected
		AND (e.id IS NULL OR e.generation <> k.generation OR ` + differsFromStored + `)
	ORDER BY i.id
	ON CONFLICT (id) DO UPDATE SET product_id = EXCLUDED.product_id, title = EXCLUDED.title,
		title_hash = EXCLUDED.title_hash, severity = EXCLUDED.severity, status = EXCLUDED.status,
		priority = EXCLUDED.priority, parser_type = EXCLUDED.parser_type,
		vulnerability_id = EXCLUDED.vulnerability_id, cvss_score = EXCLUDED.cvss_score,
		origin = EXCLUDED.origin, url = EXCLUDED.url,
		known_exploited = EXCLUDED.known_exploited, details = EXCLUDED.details,
		reported_at = EXCLUDED.reported_at, generation = EXCLUDED.generation,
		notified_severity = CASE WHEN ` + deletedWithProduct + ` THEN NULL ELSE o.notified_severity END,
		notified_status = CASE WHEN ` + deletedWithProduct + ` THEN NULL ELSE o.notified_status END,
		notified_priority = CASE WHEN ` + deletedWithProduct + ` THEN NULL ELSE o.notified_priority END,
		notified_known_exploited = CASE WHEN ` + deletedWithProduct + ` THEN NULL ELSE o.notified_known_exploited END
	WHERE (o.generation, o.product_id, o.title, o.severity, o.status, o.priority, o.parser_type, o.vulnerability_id,
			o.cvss_score, o.origin, o.url, o.known_exploited, o.details)
		IS DISTINCT FROM (EXCLUDED.generation, EXCLUDED.product_id, EXCLUDED.title, EXCLUDED.severity, EXCLUDED.status,
			EXCLUDED.priority, EXCLUDED.parser_type, EXCLUDED.vulnerability_id, EXCLUDED.cvss_score,
			EXCLUDED.origin, EXCLUDED.url, EXCLUDED.known_exploited, EXCLUDED.details)
		AND (@reported_at::timestamptz IS NULL OR o.reported_at IS NULL OR o.reported_at <= EXCLUDED.reported_at
			OR o.reported_at > clock_timestamp() OR ` + deletedWithProduct + `)
	RETURNING id`

const acceptStatement = knownProducts + `, changed AS (` + upsertObservations + `
	), queued AS (
		INSERT INTO outbox (kind, bulk, payload, queued_at)
		SELECT @kind, @bulk::boolean, @payload::jsonb || jsonb_build_object('ids', jsonb_agg(id ORDER BY id)),
			CASE WHEN @queued::boolean THEN clock_timestamp() END
		FROM changed HAVING count(*) > 0 RETURNING id
	)
	SELECT (SELECT count(*) FROM changed) AS changed, (SELECT id FROM queued) AS event_id,
		(SELECT count(*) FROM known) AS known`

// AcceptObservations stores up to some thousand observations with distinct ids, and one outbox row of those that are
// new or differ. On PostgreSQL, without ReportedAt, this is one statement: it needs no transaction, holds its locks
// for no longer than it runs, and does not lock unchanged observations. The error is *UnknownProductsError where a
// product does not exist; then nothing is stored.
func AcceptObservations(
	ctx context.Context, db bun.IDB, list []Observation, options AcceptOptions,
) (StoredChunk, error) {
	list = slices.SortedFunc(slices.Values(list), func(a, b Observation) int { return cmp.Compare(a.ID, b.ID) })
	products := productsOf(list)
	upsert := args{
		"observations": observationCols(list), "products": numbers(products), "products_expected": len(products),
		"reported_at": options.ReportedAt,
	}
	if isSQLite(db) {
		return acceptSQLite(ctx, db, upsert, list, options)
	}
	if err := lockReported(ctx, db, list, options); err != nil {
		return StoredChunk{}, err
	}
	upsert["kind"], upsert["bulk"], upsert["queued"] = string(options.Kind()), options.Bulk, options.Queued
	payload := options.payload(list)
	upsert["payload"] = payload.column()
	a, err := queryOne[struct {
		Changed int
		EventID int64
		Known   int
	}](ctx, db, acceptStatement, upsert)
	if err != nil {
		return StoredChunk{}, err
	}
	if a.Known < len(products) {
		if err := requireProducts(ctx, db, products); err != nil {
			return StoredChunk{}, err
		}
		return AcceptObservations(ctx, db, list, options) // a product was created after the statement had begun
	}
	passedOver, err := confirmObservations(ctx, db, list, options)
	return StoredChunk{Changed: a.Changed, PassedOver: passedOver, EventID: a.EventID}, err
}

// acceptSQLite is AcceptObservations for SQLite, where a statement changes one table alone.
func acceptSQLite(
	ctx context.Context, db bun.IDB, upsert args, list []Observation, options AcceptOptions,
) (a StoredChunk, err error) {
	if pool, ok := db.(*DB); ok {
		err = pool.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			a, err = acceptSQLite(ctx, tx, upsert, list, options)
			return err
		})
		return a, err
	}
	if err := requireProducts(ctx, db, productsOf(list)); err != nil {
		return a, err
	}
	changed, err := queryAll[int64](ctx, db, knownProducts+upsertObservations, upsert)
	if err == nil {
		a.PassedOver, err = confirmObservations(ctx, db, list, options)
	}
	if err != nil || len(changed) == 0 {
		return a, err
	}
	slices.Sort(changed)
	a.Changed = len(changed)
	payload := options.payload(list)
	payload.IDs = changed
	a.EventID, err = InsertEvent(ctx, db, NewEvent{
		Kind: options.Kind(), Payload: payload, Bulk: options.Bulk, Queued: options.Queued,
	})
	return a, err
}

const lockObservations = `SELECT id FROM observations WHERE id = ANY (@ids) ORDER BY id FOR NO KEY UPDATE`

// lockReported locks the stored observations until the transaction ends, where the report came through Redis. Without
// the lock, another transaction could store an older report after this report was found to equal the stored values,
// and before confirmReport: that would confirm the values of the older report.
func lockReported(ctx context.Context, db bun.IDB, list []Observation, options AcceptOptions) error {
	if options.ReportedAt == nil {
		return nil
	}
	_, err := queryAll[int64](ctx, db, lockObservations, args{"ids": numbers(idsOf(list))})
	return err
}

const countPassedOver = `
	SELECT count(*) FROM @observations AS i
	JOIN LATERAL (SELECT * FROM observations AS e WHERE e.id = i.id OFFSET 0) AS e ON true
	WHERE e.reported_at > @at AND ` + differsFromStored

// confirmReport also replaces a stored time that lies ahead: the clock that wrote it was set back since.
const confirmReport = `
	UPDATE observations SET reported_at = @at
	WHERE id = ANY (@ids) AND (reported_at < @at OR reported_at > clock_timestamp())`

// confirmObservations records when observations that came through Redis were reported, also where they equal those
// that are stored: an older report that comes later must not undo them. It returns how many of them differ from the
// stored ones because those were reported later.
func confirmObservations(
	ctx context.Context, db bun.IDB, list []Observation, options AcceptOptions,
) (passedOver int, err error) {
	if options.ReportedAt == nil {
		return 0, nil
	}
	passedOver, err = queryOne[int](ctx, db, countPassedOver,
		args{"observations": observationCols(list), "at": *options.ReportedAt})
	if err != nil {
		return 0, err
	}
	_, err = exec(ctx, db, confirmReport, args{"at": *options.ReportedAt, "ids": numbers(idsOf(list))})
	return passedOver, err
}

func observationCols(list []Observation) rows {
	return rows{
		column(list, "id", "bigint", func(o *Observation) int64 { return o.ID }),
		column(list, "product_id", "bigint", func(o *Observation) int64 { return o.ProductID }),
		column(list, "title", "text", func(o *Observation) string { return o.Title }),
		column(list, "title_hash", "bigint", func(o *Observation) int64 { return titleIndex(o.Title) }),
		column(list, "severity", "text", func(o *Observation) string { return string(o.Severity) }),
		column(list, "status", "text", func(o *Observation) string { return string(o.Status) }),
		column(list, "priority", "smallint", func(o *Observation) *int { return o.Priority }),
		column(list, "parser_type", "text", func(o *Observation) string { return string(o.ParserType) }),
		column(list, "vulnerability_id", "text", func(o *Observation) string { return o.VulnerabilityID }),
		column(list, "cvss_score", "double precision", func(o *Observation) *float64 { return o.CVSSScore }),
		column(list, "origin", "text", func(o *Observation) string { return o.Origin.column() }),
		column(list, "url", "text", func(o *Observation) string { return o.URL }),
		column(list, "known_exploited", "boolean", func(o *Observation) *bool { return o.KnownExploited }),
		column(list, "details", "text", func(o *Observation) string { return o.column() }),
	}
}
