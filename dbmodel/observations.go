package dbmodel

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Observation is a finding in a product, as the web tier reports it.
type Observation struct {
	ID         int64           `json:"id"`
	ProductID  int64           `json:"product_id"`
	Title      string          `json:"title"`
	Severity   rule.Severity   `json:"severity"`
	Status     rule.Status     `json:"status"`
	Priority   *int            `json:"priority"` // 1 (most urgent) to 99; nil: none
	ParserType rule.ParserType `json:"parser_type"`
	Details
}

// TextSize returns the size in bytes of the free texts of the observation, those that are not words of a fixed set.
func (o *Observation) TextSize() int {
	size := 0
	for _, text := range []string{
		o.Title, o.VulnerabilityID, o.URL, o.FixedVersion, o.Branch, o.Service, o.Scanner,
		o.Origin.Text, o.Origin.Component, o.Origin.Image, o.Origin.File, o.Origin.Endpoint,
	} {
		size += len(text)
	}
	return size
}

// Facts returns the facts that a notification about the observation keeps.
func (o *Observation) Facts() Facts {
	return Facts{ObservationTitle: o.Title, ParserType: o.ParserType, Details: o.Details}
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

// UnknownProductsError says which products of given observations do not exist.
type UnknownProductsError struct{ IDs []int64 }

func (e *UnknownProductsError) Error() string {
	return fmt.Sprintf("no product %d: create it first", e.IDs[0])
}

// RequireProducts keeps the products of observations from being deleted until the transaction ends. The error is
// *UnknownProductsError where one does not exist.
func RequireProducts(ctx context.Context, db bun.IDB, list []Observation) error {
	return requireProducts(ctx, db, productsOf(list))
}

const keepProductRows = `SELECT id FROM products WHERE id = ANY (@ids) ORDER BY id FOR KEY SHARE`

// KeepProducts keeps those of the given products that there are from being deleted until the transaction ends.
func KeepProducts(ctx context.Context, tx bun.Tx, ids []int64) error {
	_, err := queryAll[int64](ctx, tx, keepProductRows, args{"ids": numbers(ids)})
	return err
}

func requireProducts(ctx context.Context, db bun.IDB, ids []int64) error {
	known, err := queryAll[int64](ctx, db, keepProductRows, args{"ids": numbers(ids)})
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return slices.Contains(known, id) })
	if len(missing) > 0 {
		return &UnknownProductsError{IDs: missing}
	}
	return nil
}

// StoredObservation is an observation together with the values that are remembered of it.
type StoredObservation struct {
	Observation
	// Generation is that of the product when the observation was stored. An observation whose product has another one
	// by now is deleted.
	Generation int64
	Remembered *rule.Values `bun:"embed:notified_"` // the values last notified; nil: none
}

// observationRow is a StoredObservation as it is stored.
type observationRow struct {
	StoredObservation
	Rest string `bun:"details"` // see Details.column
}

// storedObservations runs a statement that selects storedColumns, or some of them.
func storedObservations(ctx context.Context, db bun.IDB, statement string, a args) ([]StoredObservation, error) {
	found, err := queryAll[observationRow](ctx, db, statement, a)
	if err != nil {
		return nil, err
	}
	list := make([]StoredObservation, len(found))
	for i := range found {
		list[i] = found[i].StoredObservation
		if err := list[i].scan(found[i].Rest); err != nil {
			return nil, fmt.Errorf("dbmodel: details of observation %d: %w", list[i].ID, err)
		}
	}
	return list, nil
}

// storedObservation is storedObservations for the first one. It returns ErrNotFound where there is none.
func storedObservation(ctx context.Context, db bun.IDB, statement string, a args) (*StoredObservation, error) {
	list, err := storedObservations(ctx, db, statement, a)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return &list[0], nil
}

// Rule is the observation with no more than rule must know of it.
func (o *Observation) Rule() rule.Observation {
	return rule.Observation{
		Values: rule.Values{
			Severity: o.Severity, Status: o.Status, Priority: o.Priority, KnownExploited: o.KnownExploited,
		},
		ParserType: o.ParserType,
	}
}

// storedColumns are the columns of a StoredObservation.
const storedColumns = `
	o.id, o.product_id, o.title, o.severity, o.status, o.priority, o.parser_type, o.vulnerability_id, o.cvss_score,
	o.origin, o.url, o.known_exploited, o.details, o.notified_severity, o.notified_status, o.notified_priority,
	o.notified_known_exploited, o.generation`

// observations reads the columns that decide whether an observation has an outcome: most have none, and need no more.
const observations = `
	SELECT o.id, o.product_id, o.title, o.severity, o.status, o.priority, o.parser_type, o.known_exploited,
		o.notified_severity, o.notified_status, o.notified_priority, o.notified_known_exploited, o.generation
	FROM @ids AS i
	JOIN LATERAL (SELECT * FROM observations AS o WHERE o.id = i.id OFFSET 0) AS o ON true`

// observationsForUpdate locks the rows in the order in which they are looked up.
const observationsForUpdate = `
	SELECT ` + storedColumns + ` FROM @ids AS i
	JOIN LATERAL (SELECT * FROM observations AS o WHERE o.id = i.id OFFSET 0 FOR NO KEY UPDATE) AS o ON true`

// Observations returns the observations with the given ids, by id. It fills only the fields that decide whether an
// observation has an outcome, locks nothing, and leaves out the observations that do not exist.
func Observations(ctx context.Context, db bun.IDB, ids []int64) ([]StoredObservation, error) {
	return storedObservations(ctx, db, observations, args{"ids": sortedIDs(ids)})
}

// ObservationsForUpdate is Observations, but fills all fields and keeps others from changing the observations until
// the transaction ends.
func ObservationsForUpdate(ctx context.Context, tx bun.Tx, ids []int64) ([]StoredObservation, error) {
	return storedObservations(ctx, tx, observationsForUpdate, args{"ids": sortedIDs(ids)})
}

// sortedIDs are the rows of ids, each once, by id.
func sortedIDs(ids []int64) rows {
	return rows{{"id", "bigint", slices.Compact(slices.Sorted(slices.Values(ids)))}}
}

const observationExists = `SELECT id FROM observations o WHERE o.id = @id AND @live`

// ObservationExists returns nil where there is an observation with this id, else ErrNotFound.
func ObservationExists(ctx context.Context, db bun.IDB, id int64) error {
	_, err := queryOne[int64](ctx, db, observationExists, args{"id": id, "live": bun.Safe(liveObservations("o"))})
	return err
}

const observationByID = `SELECT ` + storedColumns + ` FROM observations o WHERE o.id = @id AND @live AND @visible`

// ObservationByID returns an observation for any caller, ErrNotFound where there is none.
func ObservationByID(ctx context.Context, db bun.IDB, id int64) (*StoredObservation, error) {
	return storedObservation(ctx, db, observationByID,
		args{"id": id, "live": bun.Safe(liveObservations("o")), "visible": bun.Safe("TRUE")})
}

// VisibleObservationByID returns an observation, ErrNotFound where there is none with this id in a product that v
// sees.
func VisibleObservationByID(ctx context.Context, db bun.IDB, v Viewer, id int64) (*StoredObservation, error) {
	return storedObservation(ctx, db, observationByID,
		args{"id": id, "live": bun.Safe(liveObservations("o")), "visible": bun.Safe(VisibleProducts(v, "o.product_id"))})
}

// valueCols are the columns of remembered values; nil becomes NULL in each of them.
func valueCols(list []*rule.Values) rows {
	severities, statuses := make([]*string, len(list)), make([]*string, len(list))
	priorities, exploited := make([]*int, len(list)), make([]*bool, len(list))
	for i, v := range list {
		if v != nil {
			severity, status := string(v.Severity), string(v.Status)
			severities[i], statuses[i], priorities[i], exploited[i] = &severity, &status, v.Priority, v.KnownExploited
		}
	}
	return rows{
		{"severity", "text", severities},
		{"status", "text", statuses},
		{"priority", "smallint", priorities},
		{"known_exploited", "boolean", exploited},
	}
}

const remember = `
	UPDATE observations SET notified_severity = i.severity, notified_status = i.status, notified_priority = i.priority,
		notified_known_exploited = i.known_exploited
	FROM @values AS i WHERE observations.id = i.id`

// Remember stores the values that are remembered of the observations with the given ids; nil forgets.
func Remember(ctx context.Context, tx bun.Tx, ids []int64, values []*rule.Values) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := exec(ctx, tx, remember, args{"values": append(rows{{"id", "bigint", ids}}, valueCols(values)...)})
	return err
}

const deleteObservation = `DELETE FROM observations WHERE id = @id AND @live`

// DeleteObservation removes an observation with the values that are remembered of it. It returns ErrNotFound where
// there is none.
func DeleteObservation(ctx context.Context, db bun.IDB, id int64) error {
	return execOne(ctx, db, deleteObservation, args{"id": id, "live": bun.Safe(liveObservations("observations"))})
}

const observationIDs = `
	SELECT o.id FROM observations AS o WHERE o.product_id = @product AND o.id > @after AND @live
	ORDER BY o.id LIMIT @limit`

// ObservationIDs returns the ids of up to limit observations of a product, with an id above after, by id.
func ObservationIDs(ctx context.Context, db bun.IDB, productID, after int64, limit int) ([]int64, error) {
	return queryAll[int64](ctx, db, observationIDs,
		args{"product": productID, "after": after, "limit": limit, "live": bun.Safe(liveObservations("o"))})
}
