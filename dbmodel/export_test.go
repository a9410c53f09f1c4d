package dbmodel

import (
	"context"

	"github.com/uptrace/bun"
)

// Migrations of a test in place of the program's.
var (
	MigrateTo       = migrateTo
	RollBackFrom    = rollBackFrom
	LastMigrationOf = lastMigration
)

// MigrationLock is migrationLock.
const MigrationLock = migrationLock

// AskAgainArgs are those of AskAgainStatement.
var AskAgainArgs = askAgainArgs

// Statements that run often, however many rows there are.
const (
	PendingDeliveriesStatement = pendingDeliveries
	DigestMembersStatement     = digestMembers
	AskAgainStatement          = doubtfulDeliveries
	WaitingTargetsStatement    = waitingTargets
	SweepWorkStatement         = sweepWork
	FailingTargetsDueStatement = failingTargetsDue
	OldestWorkStatement        = oldestWork
	CountWorkStatement         = countWork
	UpsertStatement            = knownProducts + upsertObservations
	DeleteContactsStatement    = deleteContacts
)

// What statements are made of.
type (
	Args    = args
	Rows    = rows
	Numbers = numbers
)

// NewCol is a column of Rows.
func NewCol(name, pgType string, values any) col { return col{name, pgType, values} }

// QueryAll is queryAll.
func QueryAll[T any](ctx context.Context, db bun.IDB, statement string, a Args) ([]T, error) {
	return queryAll[T](ctx, db, statement, a)
}

// Held is held.
var Held = held

// ObservationCols are the Rows of observations.
func ObservationCols(list []Observation) Rows { return observationCols(list) }

// DetailsColumn is Details.column.
func DetailsColumn(d Details) string { return d.column() }

// FoundObservations is the query of the ids that SearchObservations lists.
func FoundObservations(
	ctx context.Context, db bun.IDB, v Viewer, s ObservationSearch, limit int,
) (string, error) {
	l, err := s.listing(ctx, db, v, limit)
	return l.ids(db, v), err
}
