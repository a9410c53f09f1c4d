package dbmodel

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

const (
	// ProcessRenewal is how often a living process renews its row.
	ProcessRenewal = 5 * time.Second
	// processSilence is how far the last renewal of a living process may be from now, by the database's clock, to either side:
	// the clock may have been set back since.
	processSilence = 30 * time.Second
	// processForgotten is how old the row of a process is that has died without removing it when another one does so.
	processForgotten = 24 * time.Hour
)

// Process is a process that runs a role of Tocsin.
type Process struct {
	ID        string // random
	Role      string // "web", "worker", "scheduler", or "serve" or "demo" for all of them
	Host      string
	Version   string
	StartedAt time.Time
}

// RenewProcess records that p is alive. The first call for p is its start.
func RenewProcess(ctx context.Context, db bun.IDB, p *Process) error {
	_, err := execCount(ctx, db, "INSERT INTO processes (id, role, host, version, started_at, seen_at) VALUES ($1, $2, $3, $4, "+now(db)+", "+now(db)+
		") ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at", p.ID, p.Role, p.Host, p.Version)
	if err != nil {
		return err
	}
	_, err = execCount(ctx, db, "DELETE FROM processes WHERE NOT "+seenWithin(db, processForgotten))
	return err
}

// RemoveProcess records that p has ended.
func RemoveProcess(ctx context.Context, db bun.IDB, p *Process) error {
	_, err := execCount(ctx, db, "DELETE FROM processes WHERE id = $1", p.ID)
	return err
}

// LiveProcesses lists the processes that are alive, by role and start. One that was killed counts for half a minute more.
func LiveProcesses(ctx context.Context, db bun.IDB) ([]Process, error) {
	return collect(ctx, db, func(rows *sql.Rows) (p Process, err error) {
		var started instant
		err = rows.Scan(&p.ID, &p.Role, &p.Host, &p.Version, &started)
		p.StartedAt = started.Time
		return p, err
	}, "SELECT id, role, host, version, started_at FROM processes WHERE "+seenWithin(db, processSilence)+" ORDER BY role, started_at, id")
}

// seenWithin is a condition that the last renewal of a process is less than d away from now.
func seenWithin(db bun.IDB, d time.Duration) string {
	return fmt.Sprintf("(seen_at BETWEEN %s AND %s)", later(db, -d), later(db, d))
}
