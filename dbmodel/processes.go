package dbmodel

import (
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"
)

const (
	// ProcessRenewal is how often a living process renews its row.
	ProcessRenewal = 5 * time.Second
	// processSilence is how far the last renewal of a living process may be from now, by the database's clock, to either
	// side: the clock may have been set back since.
	processSilence = 30 * time.Second
	// processForgotten is how long the row of a process that died without removing it stays, before another process
	// removes it.
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

const renewProcess = `
	INSERT INTO processes (id, role, host, version, started_at, seen_at)
	VALUES (@id, @role, @host, @version, clock_timestamp(), clock_timestamp())
	ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`

const forgetProcesses = `
	DELETE FROM processes WHERE NOT (seen_at BETWEEN clock_timestamp() - @age AND clock_timestamp() + @age)`

// RenewProcess records that p is alive. The first call for p is its start.
func RenewProcess(ctx context.Context, db bun.IDB, p *Process) error {
	_, err := exec(ctx, db, renewProcess, args{"id": p.ID, "role": p.Role, "host": p.Host, "version": p.Version})
	if err != nil {
		return err
	}
	_, err = exec(ctx, db, forgetProcesses, args{"age": processForgotten})
	return err
}

// RemoveProcess records that p has ended.
func RemoveProcess(ctx context.Context, db bun.IDB, p *Process) error {
	_, err := exec(ctx, db, `DELETE FROM processes WHERE id = @id`, args{"id": p.ID})
	return err
}

const liveProcesses = `
	SELECT id, role, host, version, started_at FROM processes
	WHERE seen_at BETWEEN clock_timestamp() - @silence AND clock_timestamp() + @silence
	ORDER BY role, started_at, id`

// LiveProcesses lists the processes that are alive, by role and start. One that was killed counts for half a minute
// more.
func LiveProcesses(ctx context.Context, db bun.IDB) ([]Process, error) {
	return queryAll[Process](ctx, db, liveProcesses, args{"silence": processSilence})
}

// Alive says of a role how many processes run it, and since when the oldest of them does.
type Alive struct {
	Processes int
	Since     time.Time // zero where there is none
}

// ProcessRoles are the roles of AliveByRole.
var ProcessRoles = []string{"web", "worker", "scheduler"}

// AliveByRole counts the processes that are alive by role; one that runs all roles counts for each.
func AliveByRole(list []Process) map[string]Alive {
	out := make(map[string]Alive, len(ProcessRoles))
	for _, p := range list {
		for _, role := range ProcessRoles {
			if p.Role != role && slices.Contains(ProcessRoles, p.Role) {
				continue
			}
			a := out[role]
			if a.Processes++; a.Since.IsZero() || p.StartedAt.Before(a.Since) {
				a.Since = p.StartedAt
			}
			out[role] = a
		}
	}
	return out
}
