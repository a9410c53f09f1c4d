package dbmodel

import (
	"context"
	"slices"

	"github.com/uptrace/bun"
)

// HeldLease is a lease that a drain of this process has taken.
type HeldLease struct {
	TargetID int64
	Owner    string
}

const (
	renewTargets = `
		UPDATE targets SET lease_until = clock_timestamp() + @lease
		WHERE id IN (
			SELECT t.id FROM @held AS h JOIN targets AS t ON t.id = h.id AND t.owner = h.owner
			ORDER BY t.id FOR NO KEY UPDATE OF t SKIP LOCKED
		)`

	lostLeases = `
		SELECT h.owner FROM @held AS h LEFT JOIN targets AS t ON t.id = h.id AND t.owner = h.owner WHERE t.id IS NULL`
)

// RenewTargets prolongs leases, and returns the owners of those that were lost. A target that is locked is passed
// over: a transaction that locks it is short, or prolongs the lease itself.
func RenewTargets(ctx context.Context, db bun.IDB, held []HeldLease) (lost []string, err error) {
	for part := range slices.Chunk(held, 1000) {
		list := rows{
			column(part, "id", "bigint", func(l *HeldLease) int64 { return l.TargetID }),
			column(part, "owner", "text", func(l *HeldLease) string { return l.Owner }),
		}
		if _, err := exec(ctx, db, renewTargets, args{"held": list, "lease": LeaseTime}); err != nil {
			return nil, err
		}
		owners, err := queryAll[string](ctx, db, lostLeases, args{"held": list})
		if err != nil {
			return nil, err
		}
		lost = append(lost, owners...)
	}
	return lost, nil
}
