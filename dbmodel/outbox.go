package dbmodel

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// ClaimTime is how long a claimed event belongs to its claim: nobody else may claim it within that time.
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
	KindBaseline     = EventKind("baseline")         // of observations that are remembered and not notified
	KindRefused      = EventKind("refused")          // came through Redis and was refused; it is set aside from the start
)

// EventKinds lists all kinds.
var EventKinds = []EventKind{KindObservation, KindBaseline, KindSecurityGate, KindException, KindRefused}

// EventPayload is the content of an event: what happened where, never a secret.
type EventPayload struct {
	IDs    []int64 `json:"ids,omitempty"`    // of observations to evaluate, or to remember
	Before *bool   `json:"before,omitempty"` // of a gate
	After  *bool   `json:"after,omitempty"`  // of a gate

	// Reported are the values with which the observations of a baseline were reported, by id: an observation that has
	// other values when the baseline is evaluated has changed since.
	Reported map[int64]rule.Values `json:"reported,omitempty"`

	Exception *Exception      `json:"exception,omitempty"`
	Task      json.RawMessage `json:"task,omitempty"` // of KindRefused: what was refused

	Last        bool   `json:"last,omitempty"`         // of its import: no other event follows
	TraceParent string `json:"trace_parent,omitempty"` // of its acceptance; empty: it is not traced
}

// Scan implements sql.Scanner.
func (p *EventPayload) Scan(src any) error { return scanJSON(src, p) }

// column is the payload as it is stored.
func (p *EventPayload) column() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("dbmodel: payload: %v", err)) // its raw fields were JSON before
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

// Event is an accepted event that is not evaluated yet.
type Event struct {
	ID            int64
	Kind          EventKind
	Bulk          bool
	ProductID     int64
	Payload       EventPayload
	Attempts      int // claims so far; of a claimed event the token of its claim
	Failures      int
	ProcessesLost int   // how often a claim to evaluate it alone ran out: its process may have died of the event
	Claim         Claim // of an event that ClaimEvent returns: the state of the new claim
	Reason        string
	CreatedAt     time.Time
}

// Type is what the event is about, in the words of notifications; empty for one that was refused.
func (e *Event) Type() rule.Type {
	switch e.Kind {
	case KindBaseline:
		return rule.TypeObservation
	case KindException:
		if e.Payload.Exception != nil {
			return e.Payload.Exception.Type
		}
	case KindRefused:
		return ""
	default:
	}
	return rule.Type(e.Kind) // the others are named like their types
}

// Claim is the state of an event's claim.
type Claim int

// States of a claim; SQL statements contain their numbers. A claim whose process was lost keeps its state: from then
// on ClaimEvent gives the event only to a caller that evaluates it alone, and the sweep enqueues it for that.
const (
	Unclaimed Claim = iota
	Claimed
	ClaimedAlone      // while its process does nothing else
	ClaimedAloneAgain // the same, after an earlier such claim ran out
)

const insertEvent = `
	INSERT INTO outbox (kind, bulk, own, payload, product_id, reason, queued_at, failed_at)
	VALUES (@kind, @bulk, @own, @payload, @product, @reason,
		CASE WHEN @queued::boolean THEN clock_timestamp() END, CASE WHEN @refused::boolean THEN clock_timestamp() END)
	RETURNING id`

// InsertEvent stores an event and returns its id.
func InsertEvent(ctx context.Context, db bun.IDB, e NewEvent) (int64, error) {
	var product *int64
	if e.ProductID != 0 {
		product = &e.ProductID
	}
	return queryOne[int64](ctx, db, insertEvent, args{
		"kind": string(e.Kind), "bulk": e.Bulk, "own": e.Payload.Exception != nil && e.Payload.Exception.Own,
		"payload": e.Payload.column(), "product": product, "reason": e.Refused, "queued": e.Queued,
		"refused": e.Refused != "",
	})
}

const eventColumns = `
	id, kind, bulk, product_id, payload, attempts, failures, processes_lost, claim, reason, created_at`

const claimEvent = `
	UPDATE outbox SET attempts = attempts + 1, run_after = clock_timestamp() + @claim_time, queued_at = NULL, claim = 1
	WHERE id = @id AND kind = @kind AND run_after <= clock_timestamp() AND failed_at IS NULL AND claim = 0
	RETURNING ` + eventColumns

const claimEventAlone = `
	UPDATE outbox SET attempts = attempts + 1, run_after = clock_timestamp() + @claim_time, queued_at = NULL,
		claim = CASE WHEN claim >= 2 THEN 3 ELSE 2 END,
		processes_lost = CASE WHEN claim >= 2 THEN processes_lost + 1 ELSE processes_lost END
	WHERE id = @id AND kind = @kind AND run_after <= clock_timestamp() AND failed_at IS NULL AND claim > 0
	RETURNING ` + eventColumns

// ClaimEvent gives an event of a kind to the caller for evaluation. alone says that the process does nothing else
// meanwhile: it must be true for an event whose earlier claim ran out, and false for any other event. ClaimEvent
// returns ErrNotFound where the event is gone, of another kind, set aside, claimed, or not due yet, and where alone is
// wrong for it. A task may name an event that it was not made for: Redis outlasts a database that is restored to an
// earlier state, which gives its ids out again.
func ClaimEvent(ctx context.Context, db bun.IDB, kind EventKind, id int64, alone bool) (*Event, error) {
	statement := claimEvent
	if alone {
		statement = claimEventAlone
	}
	e, err := queryOne[Event](ctx, db, statement, args{"id": id, "kind": string(kind), "claim_time": ClaimTime})
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// TakeEvent removes a claimed event, as the first act of the transaction that evaluates it. It returns false where the
// claim is not the newest any more: then the transaction must do nothing.
func TakeEvent(ctx context.Context, tx bun.Tx, e *Event) (bool, error) {
	n, err := exec(ctx, tx, `DELETE FROM outbox WHERE id = @id AND attempts = @token`,
		args{"id": e.ID, "token": e.Attempts})
	return n > 0, err
}

// IsDeleted reports whether the product of an event was deleted after the event had come, even if there is one with
// the same id again.
func (e *Event) IsDeleted(ctx context.Context, db bun.IDB) (bool, error) {
	return queryOne[bool](ctx, db,
		`SELECT EXISTS (SELECT 1 FROM deletions WHERE product_id = @product AND until_event >= @id)`,
		args{"product": e.ProductID, "id": e.ID})
}

const releaseEvent = `
	UPDATE outbox SET claim = 0, queued_at = NULL, run_after = clock_timestamp() + @wait
	WHERE id = @id AND attempts = @token`

// ReleaseEvent gives a claimed event back without counting a failure; it is due again after wait.
func ReleaseEvent(ctx context.Context, db bun.IDB, e *Event, wait time.Duration) error {
	_, err := exec(ctx, db, releaseEvent, args{"id": e.ID, "token": e.Attempts, "wait": wait})
	return err
}

const failEvent = `
	UPDATE outbox SET claim = 0, queued_at = NULL, failures = failures + 1, reason = @reason,
		run_after = clock_timestamp() + @wait
	WHERE id = @id AND attempts = @token`

// FailEvent counts a failure of a claimed event; it is tried again after wait.
func FailEvent(ctx context.Context, db bun.IDB, e *Event, reason string, wait time.Duration) error {
	_, err := exec(ctx, db, failEvent,
		args{"id": e.ID, "token": e.Attempts, "reason": Clean(reason, maxReason), "wait": wait})
	return err
}

const setEventAside = `
	UPDATE outbox SET claim = 0, queued_at = NULL, failures = failures + 1, reason = @reason, failed_at = clock_timestamp()
	WHERE id = @id AND attempts = @token AND failed_at IS NULL`

// SetEventAside ends the trying of a claimed event: it stays, with the reason, until an administrator retries or
// dismisses it. It returns false where the claim is not the newest any more.
func SetEventAside(ctx context.Context, db bun.IDB, e *Event, reason string) (bool, error) {
	n, err := exec(ctx, db, setEventAside, args{"id": e.ID, "token": e.Attempts, "reason": Clean(reason, maxReason)})
	return n > 0, err
}

const hasWaitingEvents = `SELECT EXISTS (SELECT 1 FROM outbox WHERE kind = @kind AND failed_at IS NULL)`

// HasWaitingEvents reports whether events of a kind wait to be evaluated.
func HasWaitingEvents(ctx context.Context, db bun.IDB, kind EventKind) (bool, error) {
	return queryOne[bool](ctx, db, hasWaitingEvents, args{"kind": string(kind)})
}

const (
	waitsForBaseline = `
		SELECT EXISTS (SELECT 1 FROM outbox AS o, @ids_of AS i
			WHERE o.kind = 'baseline' AND o.failed_at IS NULL AND CAST(i.value AS bigint) = ANY (@ids))`

	titlesWaitForBaseline = `
		SELECT EXISTS (SELECT 1 FROM outbox AS o, @ids_of AS i JOIN observations b ON b.id = CAST(i.value AS bigint)
			WHERE o.kind = 'baseline' AND o.failed_at IS NULL AND b.title_hash = ANY (@hashes))`
)

// WaitsForBaseline reports whether a baseline of one of the given observations waits to be evaluated, or is evaluated
// in this moment.
func WaitsForBaseline(ctx context.Context, db bun.IDB, ids []int64) (bool, error) {
	return queryOne[bool](ctx, db, waitsForBaseline, args{"ids_of": baselineIDs(db), "ids": numbers(ids)})
}

// TitlesWaitForBaseline is WaitsForBaseline for observations with one of the given titles.
func TitlesWaitForBaseline(ctx context.Context, db bun.IDB, titles []string) (bool, error) {
	hashes := make([]int64, len(titles))
	for i, t := range titles {
		hashes[i] = titleIndex(t)
	}
	return queryOne[bool](ctx, db, titlesWaitForBaseline, args{"ids_of": baselineIDs(db), "hashes": numbers(hashes)})
}

// baselineIDs is a FROM item without its alias: the ids of the observations of the baseline event o, one a row, in the
// column value.
func baselineIDs(db bun.IDB) bun.Safe {
	if isSQLite(db) {
		return "json_each(o.payload, '$.ids')"
	}
	return "jsonb_array_elements(o.payload -> 'ids')"
}

const nextInOrder = `
	SELECT id FROM outbox WHERE product_id = @product AND kind = @kind AND failed_at IS NULL ORDER BY id LIMIT 1`

// NextInOrder returns the id of the oldest event of a kind and product that waits, whether or not it is due; events
// that are set aside are passed over. It returns ErrNotFound where there is none.
func NextInOrder(ctx context.Context, db bun.IDB, kind EventKind, productID int64) (int64, error) {
	return queryOne[int64](ctx, db, nextInOrder, args{"product": productID, "kind": string(kind)})
}

// QueueableEvent is an event for which a task must be enqueued.
type QueueableEvent struct {
	ID        int64
	Kind      EventKind
	Bulk      bool
	ProductID int64
	Alone     bool // an earlier claim ran out
	Lost      bool // a task was enqueued for it, and Redis has lost that
}

const queueableEvents = `
	SELECT id, kind, bulk, product_id, claim > 0 AS alone, queued_at IS NOT NULL AS lost FROM outbox
	WHERE failed_at IS NULL AND bulk = @bulk AND run_after <= clock_timestamp()
		AND (queued_at IS NULL OR queued_at < clock_timestamp() - @lost_after)
	ORDER BY id LIMIT @limit FOR NO KEY UPDATE SKIP LOCKED`

// QueueableEvents marks as enqueued, and returns, up to limit events of one queue (bulk or not) that are due and for
// which there is no task: none was enqueued, or the newest was enqueued longer ago than lostAfter. The caller passes
// the age of the oldest task that still waits in this queue, plus a margin. The oldest events come first.
func QueueableEvents(
	ctx context.Context, tx bun.Tx, bulk bool, lostAfter time.Duration, limit int,
) ([]QueueableEvent, error) {
	if err := neverSort(ctx, tx); err != nil {
		return nil, err
	}
	list, err := queryAll[QueueableEvent](ctx, tx, queueableEvents,
		args{"bulk": bulk, "lost_after": lostAfter, "limit": limit})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	ids := make(numbers, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	_, err = exec(ctx, tx, `UPDATE outbox SET queued_at = clock_timestamp() WHERE id = ANY (@ids)`, args{"ids": ids})
	return list, err
}

// KeepQueued makes the task of an event count as enqueued now: a worker holds the task and cannot begin it yet.
func KeepQueued(ctx context.Context, db bun.IDB, id int64) error {
	_, err := exec(ctx, db, `UPDATE outbox SET queued_at = clock_timestamp() WHERE id = @id AND queued_at IS NOT NULL`,
		args{"id": id})
	return err
}

// neverSort makes PostgreSQL read the oldest rows along an index for the rest of the transaction. Otherwise it may
// sort all rows that wait, because its statistics are from a time when nothing waited.
func neverSort(ctx context.Context, tx bun.Tx) error {
	if isSQLite(tx) {
		return nil
	}
	_, err := exec(ctx, tx, `SET LOCAL enable_sort = off`, nil)
	return err
}
