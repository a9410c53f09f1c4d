package dbmodel

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// ClaimTime is how long a claimed event belongs to its claim: nobody else may claim it before.
const ClaimTime = 20 * time.Second

// Limits of trying an event again.
const (
	SplitAfter    = 3 // failures after which a chunk is split into single events
	SetAsideAfter = 5 // failures, or lost processes, after which a single event is set aside
)

// EventKind says what an event is about, in the words of rule.Type where a notification may come of it.
type EventKind string

// Kinds of events.
const (
	KindObservation  = EventKind(rule.TypeObservation)
	KindSecurityGate = EventKind(rule.TypeSecurityGate)
	KindException    = EventKind(rule.TypeException) // of a request or of a background task
	KindBaseline     = EventKind("baseline")         // of observations: what matches is remembered, nothing is notified
	KindRefused      = EventKind("refused")          // came through Redis and was refused; it is set aside from the start
)

// EventKinds lists all kinds.
var EventKinds = []EventKind{KindObservation, KindBaseline, KindSecurityGate, KindException, KindRefused}

// EventPayload is what an event carries: what happened where, never a secret.
type EventPayload struct {
	IDs    []int64 `json:"ids,omitempty"`    // of observations to evaluate, or to remember
	Before *bool   `json:"before,omitempty"` // of a gate
	After  *bool   `json:"after,omitempty"`  // of a gate

	Exception *Exception      `json:"exception,omitempty"`
	Task      json.RawMessage `json:"task,omitempty"` // of KindRefused: what was refused
}

// Scan implements sql.Scanner.
func (p *EventPayload) Scan(src any) error { return scanJSON(src, p) }

func (p *EventPayload) column() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("dbmodel: payload: %v", err)) // what is raw in it was JSON before
	}
	return string(b)
}

// NewEvent is an event to be stored.
type NewEvent struct {
	Kind      EventKind
	Payload   EventPayload
	ProductID int64  // of a gate
	Bulk      bool   // part of an import: single events go first
	Queued    bool   // the caller enqueues a task for it
	Refused   string // of KindRefused: why; the event is set aside
}

// Event is an accepted event that is not worked off yet.
type Event struct {
	ID            int64
	Kind          EventKind
	Bulk          bool
	ProductID     int64
	Payload       EventPayload
	Attempts      int // claims so far; of a claimed event the token of its claim
	Failures      int
	ProcessesLost int   // claims alone that ran out: processes that it may have killed
	Claim         Claim // as the claim found it, or made it
	Reason        string
	CreatedAt     time.Time
}

// Claim is the state of an event's claim.
type Claim int

// States of a claim. A claim whose process was lost keeps its state; then ordinary claims pass the event over.
const (
	Unclaimed Claim = iota
	Claimed
	ClaimedAlone      // while its process does nothing else
	ClaimedAloneAgain // the same, after an earlier such claim ran out
)

// InsertEvent stores an event and returns its id.
func InsertEvent(ctx context.Context, db bun.IDB, e NewEvent) (int64, error) {
	queued := "NULL"
	if e.Queued {
		queued = now(db)
	}
	var product *int64
	if e.ProductID != 0 {
		product = &e.ProductID
	}
	failed := "NULL"
	if e.Refused != "" {
		failed = now(db)
	}
	own := e.Payload.Exception != nil && e.Payload.Exception.Own
	var id int64
	err := raw(db).QueryRowContext(ctx, "INSERT INTO outbox (kind, bulk, own, payload, product_id, reason, queued_at, failed_at) VALUES ($1, $2, $3, $4, $5, $6, "+
		queued+", "+failed+") RETURNING id", string(e.Kind), e.Bulk, own, e.Payload.column(), product, e.Refused).Scan(&id)
	return id, Translate(err)
}

// ClaimEvent makes the caller the one who works on an event of a kind. alone says that its process does nothing else
// meanwhile: it must be so for an event whose earlier claim ran out, and only then. It returns ErrNotFound where the event is
// gone, of another kind, set aside, claimed, or not due yet. A task may name what it was never made for: Redis outlasts a
// database that is restored to an earlier state, which gives its ids out again.
func ClaimEvent(ctx context.Context, db bun.IDB, kind EventKind, id int64, alone bool) (*Event, error) {
	claim, lost, condition := "1", "processes_lost", "claim = 0"
	if alone {
		claim = "CASE WHEN claim >= 2 THEN 3 ELSE 2 END"
		lost = "CASE WHEN claim >= 2 THEN processes_lost + 1 ELSE processes_lost END"
		condition = "claim > 0"
	}
	list, err := collect(ctx, db, scanEvent, `UPDATE outbox SET attempts = attempts + 1, run_after = `+later(db, ClaimTime)+`, queued_at = NULL,
		claim = `+claim+`, processes_lost = `+lost+`
		WHERE id = $1 AND kind = $2 AND run_after <= `+now(db)+` AND failed_at IS NULL AND `+condition+` RETURNING `+eventColumns, id, string(kind))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return list[0], nil
}

const eventColumns = "id, kind, bulk, coalesce(product_id, 0), payload, attempts, failures, processes_lost, claim, reason, created_at"

func scanEvent(rows *sql.Rows) (*Event, error) {
	e := new(Event)
	var created instant
	err := rows.Scan(&e.ID, &e.Kind, &e.Bulk, &e.ProductID, &e.Payload, &e.Attempts, &e.Failures, &e.ProcessesLost, &e.Claim, &e.Reason, &created)
	e.CreatedAt = created.Time
	return e, err
}

// TakeEvent removes a claimed event, as the first act of the transaction that works it off. It returns false where the
// claim is not the newest any more: then the transaction must do nothing.
func TakeEvent(ctx context.Context, tx bun.Tx, e *Event) (bool, error) {
	n, err := execCount(ctx, tx, "DELETE FROM outbox WHERE id = $1 AND attempts = $2", e.ID, e.Attempts)
	return n > 0, err
}

// IsDeleted reports whether the product of an event was deleted after the event had come, even if there is one with the same id
// again.
func (e *Event) IsDeleted(ctx context.Context, db bun.IDB) (bool, error) {
	return queryOne[bool](ctx, db, "SELECT EXISTS (SELECT 1 FROM deletions WHERE product_id = @product AND until_event >= @id)",
		args{"product": e.ProductID, "id": e.ID})
}

// ReleaseEvent gives a claimed event back without counting a failure; it is due again after wait.
func ReleaseEvent(ctx context.Context, db bun.IDB, e *Event, wait time.Duration) error {
	_, err := execCount(ctx, db, "UPDATE outbox SET claim = 0, queued_at = NULL, run_after = "+later(db, wait)+" WHERE id = $1 AND attempts = $2", e.ID, e.Attempts)
	return err
}

// FailEvent counts a failure of a claimed event; it is tried again after wait.
func FailEvent(ctx context.Context, db bun.IDB, e *Event, reason string, wait time.Duration) error {
	_, err := execCount(ctx, db, `UPDATE outbox SET claim = 0, queued_at = NULL, failures = failures + 1, reason = $3, run_after = `+later(db, wait)+`
		WHERE id = $1 AND attempts = $2`, e.ID, e.Attempts, Clean(reason, maxReason))
	return err
}

// SplitEvent replaces a claimed event by one for each of its observations, so that a bad one does not hold the others. It
// returns false where the claim is not the newest any more.
func SplitEvent(ctx context.Context, tx bun.Tx, e *Event) (bool, error) {
	taken, err := TakeEvent(ctx, tx, e)
	if err != nil || !taken {
		return false, err
	}
	payloads := make([]string, len(e.Payload.IDs))
	for i, id := range e.Payload.IDs {
		single := EventPayload{IDs: []int64{id}}
		payloads[i] = single.column()
	}
	err = insertOnce(ctx, tx, e.Kind, e.Bulk, payloads)
	return err == nil, err
}

// insertOnce stores events that MergeEvents leaves alone: they count as tried.
func insertOnce(ctx context.Context, tx bun.Tx, kind EventKind, bulk bool, payloads []string) error {
	from, args := rowsFrom(tx, "i", 3, col{"payload", "text", payloads})
	cast := "i.payload::jsonb"
	if isSQLite(tx) {
		cast = "i.payload"
	}
	_, err := execCount(ctx, tx, "INSERT INTO outbox (kind, bulk, attempts, payload) SELECT $1, $2, 1, "+cast+" FROM "+from+" ORDER BY i.ord",
		append([]any{kind, bulk}, args...)...)
	return err
}

const (
	smallEvent   = 2_000 // bytes of a payload: some hundred observations, and more are well worked off alone
	worthMerging = 100   // events
)

// MergeEvents replaces up to limit waiting events about few observations by events about up to chunk of them, which are worked
// off many times faster, and returns how many it replaced. Their tasks, if they have any, will find nothing. It takes the
// oldest, and none that was tried before: of those one may be bad.
func MergeEvents(ctx context.Context, tx bun.Tx, bulk bool, limit, chunk int) (int, error) {
	if err := neverSort(ctx, tx); err != nil {
		return 0, err
	}
	size := "pg_column_size(payload)"
	if isSQLite(tx) {
		size = "length(payload)"
	}
	found, err := collect(ctx, tx, scanID, `SELECT id FROM outbox WHERE failed_at IS NULL AND bulk = $1 AND kind = $2 AND attempts = 0 AND run_after <= `+now(tx)+`
		AND `+size+` < $3 ORDER BY id LIMIT $4`+skipLocked(tx), bulk, KindObservation, smallEvent, limit)
	if err != nil || len(found) < worthMerging {
		return 0, err
	}
	in, arg := anyOf(tx, "id", 1, found)
	type event struct {
		id      int64
		payload EventPayload
	}
	taken, err := collect(ctx, tx, func(rows *sql.Rows) (e event, err error) {
		err = rows.Scan(&e.id, &e.payload)
		return e, err
	}, "DELETE FROM outbox WHERE "+in+" RETURNING id, payload", arg)
	if err != nil {
		return 0, err
	}
	slices.SortFunc(taken, func(a, b event) int { return cmp.Compare(a.id, b.id) })
	var ids []int64
	seen := map[int64]bool{}
	for _, e := range taken {
		for _, id := range e.payload.IDs {
			if !seen[id] {
				ids, seen[id] = append(ids, id), true
			}
		}
	}
	var payloads []string
	for some := range slices.Chunk(ids, chunk) {
		merged := EventPayload{IDs: some}
		payloads = append(payloads, merged.column())
	}
	return len(taken), insertOnce(ctx, tx, KindObservation, bulk, payloads)
}

// SetEventAside ends the trying of a claimed event: it stays, with the reason, until somebody retries it. It returns false
// where the claim is not the newest any more.
func SetEventAside(ctx context.Context, db bun.IDB, e *Event, reason string) (bool, error) {
	n, err := execCount(ctx, db, `UPDATE outbox SET claim = 0, queued_at = NULL, failures = failures + 1, reason = $3, failed_at = `+now(db)+`
		WHERE id = $1 AND attempts = $2 AND failed_at IS NULL`, e.ID, e.Attempts, Clean(reason, maxReason))
	return n > 0, err
}

const hasWaitingEvents = "SELECT EXISTS (SELECT 1 FROM outbox WHERE kind = @kind AND failed_at IS NULL)"

// HasWaitingEvents reports whether events of a kind wait to be evaluated.
func HasWaitingEvents(ctx context.Context, db bun.IDB, kind EventKind) (bool, error) {
	return queryOne[bool](ctx, db, hasWaitingEvents, args{"kind": string(kind)})
}

// NextInOrder returns the id of the oldest event of a kind and product that waits, whether or not it is due; events that are set
// aside are passed over. It returns ErrNotFound where there is none.
func NextInOrder(ctx context.Context, db bun.IDB, kind EventKind, productID int64) (int64, error) {
	var id int64
	err := raw(db).QueryRowContext(ctx, `SELECT id FROM outbox WHERE product_id = $1 AND kind = $2 AND failed_at IS NULL ORDER BY id LIMIT 1`,
		productID, string(kind)).Scan(&id)
	return id, Translate(err)
}

// QueueableEvent is an event for which a task must be enqueued.
type QueueableEvent struct {
	ID        int64
	Kind      EventKind
	Bulk      bool
	ProductID int64
	Alone     bool // an earlier claim ran out
}

// QueueableEvents marks as enqueued, and returns, up to limit events of one queue (bulk or not) that are due and for which
// there is no task: none was enqueued, or the newest was longer ago than lostAfter, the age of the oldest task that
// still waits plus a margin. The oldest come first.
func QueueableEvents(ctx context.Context, tx bun.Tx, bulk bool, lostAfter time.Duration, limit int) ([]QueueableEvent, error) {
	if err := neverSort(ctx, tx); err != nil {
		return nil, err
	}
	list, err := collect(ctx, tx, func(rows *sql.Rows) (e QueueableEvent, err error) {
		err = rows.Scan(&e.ID, &e.Kind, &e.Bulk, &e.ProductID, &e.Alone)
		return e, err
	}, `UPDATE outbox SET queued_at = `+now(tx)+` WHERE id IN (
			SELECT id FROM outbox WHERE failed_at IS NULL AND bulk = $1 AND run_after <= `+now(tx)+`
			AND (queued_at IS NULL OR queued_at < `+later(tx, -lostAfter)+`) ORDER BY id LIMIT $2`+skipLocked(tx)+`
		) RETURNING id, kind, bulk, coalesce(product_id, 0), claim > 0`, bulk, limit)
	slices.SortFunc(list, func(a, b QueueableEvent) int { return cmp.Compare(a.ID, b.ID) }) // what an UPDATE returns has no order
	return list, err
}

// neverSort has PostgreSQL walk along an index, for the rest of the transaction, where it would sort all that waits to find the
// oldest: its statistics are from when nothing waited.
func neverSort(ctx context.Context, tx bun.Tx) error {
	if isSQLite(tx) {
		return nil
	}
	_, err := execCount(ctx, tx, "SET LOCAL enable_sort = off")
	return err
}

// HasOverdueEvents reports whether an event has been due for longer than d and is not evaluated yet.
func HasOverdueEvents(ctx context.Context, db bun.IDB, d time.Duration) (overdue bool, err error) {
	err = raw(db).QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM outbox WHERE failed_at IS NULL AND run_after < "+
		later(db, -d)+")").Scan(&overdue)
	return overdue, Translate(err)
}

// Tick reports whether the caller is the one who does what the name says now; it is true once in every interval, over all
// processes. A next time that is further ahead than that was set before the clock was set back, and does not count.
func Tick(ctx context.Context, db bun.IDB, name string, interval time.Duration) (bool, error) {
	n, err := execCount(ctx, db, "UPDATE ticks SET next_at = "+later(db, interval)+" WHERE name = $1 AND (next_at <= "+now(db)+" OR next_at > "+later(db, interval)+")", name)
	return n > 0, err
}
