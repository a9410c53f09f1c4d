package dbmodel

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// UnknownProductsError says which products of given observations do not exist.
type UnknownProductsError struct{ IDs []int64 }

func (e *UnknownProductsError) Error() string {
	return fmt.Sprintf("no product %d: create it first", e.IDs[0])
}

// Accepted is what AcceptObservations did.
type Accepted struct {
	Changed    int   // observations that are new or differ
	PassedOver int   // observations that differ, and are older than what is stored; see Accepting
	EventID    int64 // the outbox row of those that changed; 0 where there are none
}

const observationColumns = "id, product_id, title, title_hash, severity, status, priority, parser_type, vulnerability_id, cvss_score, origin, url, known_exploited, details"

// Accepting says how observations are accepted.
type Accepting struct {
	Bulk     bool // part of an import: single events go first
	Baseline bool // what matches is remembered without being notified
	Queued   bool // the caller enqueues a task for the event
	// ReportedAt is when the web tier reported them, where they came through Redis and may have been overtaken: then what is
	// stored and was reported later, but not after now, stays; this needs a transaction. nil: now.
	ReportedAt *time.Time
}

func (how Accepting) kind() EventKind {
	if how.Baseline {
		return KindBaseline
	}
	return KindObservation
}

// AcceptObservations stores up to some thousand observations with distinct ids, and one outbox row of those that are new or
// differ. On PostgreSQL this is one statement, so it needs no transaction; it locks neither unchanged observations nor
// anything else for longer. The error is *UnknownProductsError where a product does not exist; then nothing is stored.
func AcceptObservations(ctx context.Context, db bun.IDB, list []Observation, how Accepting) (Accepted, error) {
	list = slices.SortedFunc(slices.Values(list), func(a, b Observation) int { return cmp.Compare(a.ID, b.ID) })
	products := productsOf(list)
	if isSQLite(db) {
		return acceptSQLite(ctx, db, list, products, how)
	}
	if err := lockReported(ctx, db, list, how); err != nil {
		return Accepted{}, err
	}
	from, args := rowsFrom(db, "i", 1, observationCols(list)...)
	n := len(args)
	query := fmt.Sprintf(`WITH known AS MATERIALIZED (
			SELECT id, generation FROM products WHERE id = ANY($%[1]d::bigint[]) ORDER BY id FOR KEY SHARE
		), changed AS (`+upsertObservations(db, how, from+" JOIN known k ON k.id = i.product_id", fmt.Sprintf("(SELECT count(*) FROM known) = cardinality($%d::bigint[])", n+1), n+4)+`
		), queued AS (
			INSERT INTO outbox (kind, bulk, payload, queued_at)
			SELECT '`+string(how.kind())+`', $%[2]d::boolean, jsonb_build_object('ids', jsonb_agg(id ORDER BY id)), CASE WHEN $%[3]d::boolean THEN clock_timestamp() END
			FROM changed HAVING count(*) > 0 RETURNING id
		) SELECT (SELECT count(*) FROM changed), coalesce((SELECT id FROM queued), 0), (SELECT count(*) FROM known)`, n+1, n+2, n+3)
	args = append(args, arrayArg(db, products), how.Bulk, how.Queued)
	if how.ReportedAt != nil {
		args = append(args, *how.ReportedAt)
	}
	var a Accepted
	var known int
	err := raw(db).QueryRowContext(ctx, query, args...).Scan(&a.Changed, &a.EventID, &known)
	if err == nil && known < len(products) {
		if err := shareProducts(ctx, db, products); err != nil {
			return Accepted{}, err
		}
		return AcceptObservations(ctx, db, list, how) // one came into being after the statement had begun
	}
	if err == nil {
		a.PassedOver, err = confirmObservations(ctx, db, list, how)
	}
	return a, Translate(err)
}

// lockReported keeps stored observations from being changed until those that came through Redis are confirmed: else an older
// report, which is being stored, would be confirmed in the place of a younger one that equals what was stored before.
func lockReported(ctx context.Context, db bun.IDB, list []Observation, how Accepting) error {
	if how.ReportedAt == nil {
		return nil
	}
	in, arg := anyOf(db, "id", 1, idsOf(list))
	_, err := collect(ctx, db, scanID, "SELECT id FROM observations WHERE "+in+" ORDER BY id"+forUpdate(db), arg)
	return err
}

const (
	// confirmReport takes a time that lies ahead for none: the clock that wrote it was set back since.
	confirmReport = `
		UPDATE observations SET reported_at = @at WHERE id = ANY (@ids) AND (reported_at < @at OR reported_at > clock_timestamp())`
	countPassedOver = `
		SELECT count(*) FROM @list AS i
		JOIN LATERAL (SELECT * FROM observations AS o WHERE o.id = i.id OFFSET 0) AS o ON true WHERE o.reported_at > @at AND @differs`
)

// confirmObservations notes of observations that came through Redis when they were reported, also where they are stored
// already: what was reported before that, and comes later, must not undo them. It returns how many of them differ from what is
// stored, and were reported before that.
func confirmObservations(ctx context.Context, db bun.IDB, list []Observation, how Accepting) (passedOver int, err error) {
	if how.ReportedAt == nil {
		return 0, nil
	}
	differ := bun.Safe(observationRow("o", "") + " " + differs(db) + " " + observationRow("i", ""))
	passedOver, err = queryOne[int](ctx, db, countPassedOver, args{"list": rows(observationCols(list)), "at": *how.ReportedAt, "differs": differ})
	if err != nil {
		return 0, err
	}
	_, err = exec(ctx, db, confirmReport, args{"at": *how.ReportedAt, "ids": numbers(idsOf(list))})
	return passedOver, err
}

// observationRow is what is compared of an observation under the name alias, and the generation of its product where that has a name.
func observationRow(alias, product string) string {
	columns := []string{}
	if product != "" {
		columns = append(columns, product+".generation")
	}
	for _, c := range []string{
		"product_id", "title", "severity", "status", "priority", "parser_type", "vulnerability_id", "cvss_score", "origin", "url",
		"known_exploited", "details",
	} {
		columns = append(columns, alias+"."+c)
	}
	return "(" + strings.Join(columns, ", ") + ")"
}

// acceptSQLite is AcceptObservations in the statements that SQLite knows.
func acceptSQLite(ctx context.Context, db bun.IDB, list []Observation, products []int64, how Accepting) (a Accepted, err error) {
	if whole, ok := db.(*DB); ok {
		err = whole.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
			a, err = acceptSQLite(ctx, tx, list, products, how)
			return err
		})
		return a, err
	}
	if err := shareProducts(ctx, db, products); err != nil {
		return a, err
	}
	from, args := rowsFrom(db, "i", 1, observationCols(list)...)
	query := upsertObservations(db, how, from+" CROSS JOIN products k ON k.id = i.product_id", "true", len(args)+1)
	if how.ReportedAt != nil {
		args = append(args, *how.ReportedAt)
	}
	changed, err := collect(ctx, db, scanID, query, args...)
	if err == nil {
		a.PassedOver, err = confirmObservations(ctx, db, list, how)
	}
	if err != nil || len(changed) == 0 {
		return a, err
	}
	slices.Sort(changed)
	a.Changed = len(changed)
	a.EventID, err = InsertEvent(ctx, db, NewEvent{Kind: how.kind(), Payload: EventPayload{IDs: changed}, Bulk: how.Bulk, Queued: how.Queued})
	return a, err
}

// upsertObservations inserts or updates what differs among the rows i of from, with their products k, and returns the ids of
// these. The time when they were reported, if given, is the argument with the number arg. Of an observation that was deleted with
// its product, and is not removed yet, nothing is remembered.
func upsertObservations(db bun.IDB, how Accepting, from, condition string, arg int) string {
	row := observationRow
	deleted := "EXISTS (SELECT 1 FROM deletions gone WHERE gone.product_id = o.product_id AND gone.generation = o.generation)"
	forget := func(column string) string {
		return column + " = CASE WHEN " + deleted + " THEN NULL ELSE o." + column + " END"
	}
	reportedAt, younger := now(db), ""
	if how.ReportedAt != nil {
		reportedAt = fmt.Sprintf("$%d", arg)
		younger = " AND (o.reported_at IS NULL OR o.reported_at <= EXCLUDED.reported_at OR o.reported_at > " + now(db) + " OR " + deleted + ")"
		if !isSQLite(db) {
			reportedAt += "::timestamptz"
		}
	}
	return `INSERT INTO observations AS o (` + observationColumns + `, reported_at, generation)
		SELECT i.id, i.product_id, i.title, i.title_hash, i.severity, i.status, i.priority, i.parser_type, i.vulnerability_id, i.cvss_score, i.origin, i.url, i.known_exploited, i.details, ` + reportedAt + `, k.generation
		FROM ` + from + ` ` + lookUp(db, "LEFT JOIN", "observations", "e", "id = i.id", "") + `
		WHERE ` + condition + ` AND (e.id IS NULL OR ` + row("e", "e") + ` ` + differs(db) + ` ` + row("i", "k") + `) ORDER BY i.id
		ON CONFLICT (id) DO UPDATE SET product_id = EXCLUDED.product_id, title = EXCLUDED.title, title_hash = EXCLUDED.title_hash,
			severity = EXCLUDED.severity, status = EXCLUDED.status, priority = EXCLUDED.priority, parser_type = EXCLUDED.parser_type,
			vulnerability_id = EXCLUDED.vulnerability_id, cvss_score = EXCLUDED.cvss_score, origin = EXCLUDED.origin, url = EXCLUDED.url,
			known_exploited = EXCLUDED.known_exploited, details = EXCLUDED.details,
			reported_at = EXCLUDED.reported_at, generation = EXCLUDED.generation,
			` + forget("notified_severity") + `, ` + forget("notified_status") + `, ` + forget("notified_priority") + `,
			` + forget("notified_known_exploited") + `
		WHERE ` + row("o", "o") + ` ` + differs(db) + ` ` + row("EXCLUDED", "EXCLUDED") + younger + ` RETURNING id`
}

func observationCols(list []Observation) []col {
	n := len(list)
	var (
		ids, products, hashes                                            = make([]int64, n), make([]int64, n), make([]int64, n)
		titles, severities, statuses, parserTypes, vulns, origins, links = make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		priorities                                                       = make([]*int, n)
		scores                                                           = make([]*float64, n)
		exploited                                                        = make([]*bool, n)
		details                                                          = make([]string, n)
	)
	for i := range list {
		o := &list[i]
		ids[i], products[i], titles[i], hashes[i] = o.ID, o.ProductID, o.Title, titleIndex(o.Title)
		severities[i], statuses[i], priorities[i], parserTypes[i] = string(o.Severity), string(o.Status), o.Priority, string(o.ParserType)
		vulns[i], scores[i], origins[i], links[i] = o.VulnerabilityID, o.CVSSScore, o.Origin.column(), o.URL
		exploited[i], details[i] = o.KnownExploited, o.detailsColumn()
	}
	return []col{
		{"id", "bigint", ids},
		{"product_id", "bigint", products},
		{"title", "text", titles},
		{"title_hash", "bigint", hashes},
		{"severity", "text", severities},
		{"status", "text", statuses},
		{"priority", "smallint", priorities},
		{"parser_type", "text", parserTypes},
		{"vulnerability_id", "text", vulns},
		{"cvss_score", "double precision", scores},
		{"origin", "text", origins},
		{"url", "text", links},
		{"known_exploited", "boolean", exploited},
		{"details", "text", details},
	}
}

// idsOf are the ids of observations, in their order.
func idsOf(list []Observation) []int64 {
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	return ids
}

// productsOf are the products of observations, each once, by id.
func productsOf(list []Observation) []int64 {
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = list[i].ProductID
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// ShareProducts keeps the products of observations from being deleted until the transaction ends. The error is
// *UnknownProductsError where one does not exist.
func ShareProducts(ctx context.Context, db bun.IDB, list []Observation) error {
	return shareProducts(ctx, db, productsOf(list))
}

// KeepProducts keeps those of the given products that there are from being deleted until the transaction ends.
func KeepProducts(ctx context.Context, tx bun.Tx, ids []int64) error {
	_, err := queryAll[int64](ctx, tx, "SELECT id FROM products WHERE id = ANY (@ids) ORDER BY id FOR KEY SHARE", args{"ids": numbers(ids)})
	return err
}

func shareProducts(ctx context.Context, db bun.IDB, ids []int64) error {
	in, arg := anyOf(db, "id", 1, ids)
	known, err := collect(ctx, db, scanID, "SELECT id FROM products WHERE "+in+" ORDER BY id"+forKeyShare(db), arg)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return slices.Contains(known, id) })
	if len(missing) > 0 {
		return &UnknownProductsError{IDs: missing}
	}
	return nil
}
