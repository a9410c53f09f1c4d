package dbmodel

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// PeriodicCleanup is the name of the task that deletes what is too old; it is also the name of its row in ticks.
const PeriodicCleanup = "cleanup"

const (
	// PeriodicClaimTime is how long a claimed run belongs to a process that shows no sign of life.
	PeriodicClaimTime = time.Minute
	// PeriodicAttempts is how often a run is begun at the most.
	PeriodicAttempts = 5
	// keptRuns is how many runs of a task the history holds.
	keptRuns = 1_000
)

// ErrRunLost ends the work of a process whose claim of a run is not the newest any more.
var ErrRunLost = errors.New("another process has taken the run over")

// RunStatus is the state of a run of a periodic task.
type RunStatus string

// States of runs.
const (
	RunPending   RunStatus = "pending"
	RunRunning   RunStatus = "running"
	RunSucceeded RunStatus = "succeeded"
	RunFailed    RunStatus = "failed"
)

// RunStatuses lists all states of runs.
var RunStatuses = []RunStatus{RunPending, RunRunning, RunSucceeded, RunFailed}

// PeriodicRun is one run of a periodic task: that of one slot of its cron line.
type PeriodicRun struct {
	ID        int64
	Task      string
	Slot      time.Time
	StartedAt *time.Time // of the last try
	Duration  *time.Duration
	Status    RunStatus
	Message   string
	Attempts  int // tries so far; of a claimed run the token of its claim
}

const runColumns = "id, task, slot, started_at, duration_ms, status, message, attempts"

func scanRun(rows *sql.Rows) (r PeriodicRun, err error) {
	var slot, started instant
	var ms sql.NullInt64
	err = rows.Scan(&r.ID, &r.Task, &slot, &started, &ms, &r.Status, &r.Message, &r.Attempts)
	r.Slot, r.StartedAt = slot.Time, started.pointer()
	if ms.Valid {
		d := time.Duration(ms.Int64) * time.Millisecond
		r.Duration = &d
	}
	return r, err
}

// PeriodicRuns lists up to limit runs with an id below before (0: all), newest first.
func PeriodicRuns(ctx context.Context, db bun.IDB, before int64, limit int) ([]PeriodicRun, error) {
	return collect(ctx, db, scanRun, "SELECT "+runColumns+" FROM periodic_tasks WHERE (id < $1 OR $1 = 0) ORDER BY id DESC LIMIT $2", before, limit)
}

// LastSlot returns the newest slot of a periodic task; where there was none, the time from which on they count.
func LastSlot(ctx context.Context, db bun.IDB, task string) (time.Time, error) {
	var begin, last instant
	err := raw(db).QueryRowContext(ctx, "SELECT next_at, (SELECT max(slot) FROM periodic_tasks WHERE task = $1) FROM ticks WHERE name = $1", task).
		Scan(&begin, &last)
	if last.IsZero() {
		return begin.Time, Translate(err)
	}
	return last.Time, Translate(err)
}

// LockSlots lets nobody else add slots of a periodic task until the transaction ends.
func LockSlots(ctx context.Context, tx bun.Tx, task string) error {
	_, err := collect(ctx, tx, func(rows *sql.Rows) (string, error) {
		var name string
		return name, rows.Scan(&name)
	}, "SELECT name FROM ticks WHERE name = $1"+forUpdate(tx), task)
	return err
}

// AddSlot stores the run of a slot, for which the caller enqueues a task, and returns its id; 0 where it is stored already.
func AddSlot(ctx context.Context, db bun.IDB, task string, slot time.Time) (int64, error) {
	var id int64
	err := raw(db).QueryRowContext(ctx, "INSERT INTO periodic_tasks (task, slot, queued_at) VALUES ($1, $2, "+now(db)+
		") ON CONFLICT (task, slot) DO NOTHING RETURNING id", task, timeArg(db, slot)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return id, Translate(err)
}

// Run names a run of a periodic task.
type Run struct {
	ID   int64
	Task string
}

// QueueableRuns marks as enqueued, and returns, up to limit runs that are due and for which there is no task: none
// was enqueued, or the newest was longer ago than lostAfter. A run is due that was never begun, or whose process was lost.
func QueueableRuns(ctx context.Context, tx bun.Tx, lostAfter time.Duration, limit int) ([]Run, error) {
	return collect(ctx, tx, func(rows *sql.Rows) (r Run, err error) {
		err = rows.Scan(&r.ID, &r.Task)
		return r, err
	}, `UPDATE periodic_tasks SET queued_at = `+now(tx)+` WHERE id IN (
			SELECT id FROM periodic_tasks WHERE status IN ('pending', 'running') AND run_after <= `+now(tx)+`
			AND (queued_at IS NULL OR queued_at < `+later(tx, -lostAfter)+`) ORDER BY id LIMIT $1`+skipLocked(tx)+`
		) RETURNING id, task`, limit)
}

const waitingRuns = "SELECT EXISTS (SELECT 1 FROM periodic_tasks WHERE task = @task AND status IN ('pending', 'running'))"

// HasWaitingRun reports whether a run of a task is under way or still to begin.
func HasWaitingRun(ctx context.Context, db bun.IDB, task string) (bool, error) {
	return queryOne[bool](ctx, db, waitingRuns, args{"task": task})
}

const beginRun = `
	INSERT INTO periodic_tasks (task, slot, status, attempts, started_at, run_after)
	VALUES (@task, clock_timestamp(), 'running', 1, clock_timestamp(), clock_timestamp() + @claim)
	ON CONFLICT DO NOTHING RETURNING id, task, slot, started_at, status, attempts`

// BeginRun stores and claims a run of a task for the caller. It returns ErrNotFound where another one is under way.
func BeginRun(ctx context.Context, db bun.IDB, task string) (*PeriodicRun, error) {
	r, err := queryOne[PeriodicRun](ctx, db, beginRun, args{"task": task, "claim": PeriodicClaimTime})
	return &r, err
}

// ClaimRun makes the caller the one who runs a periodic task. It returns ErrNotFound where the run is over, claimed, or not
// due yet, and where another run of the same task is under way.
func ClaimRun(ctx context.Context, db bun.IDB, id int64) (*PeriodicRun, error) {
	list, err := collect(ctx, db, scanRun, `UPDATE periodic_tasks SET status = 'running', attempts = attempts + 1, started_at = `+now(db)+`,
		run_after = `+later(db, PeriodicClaimTime)+`, queued_at = NULL
		WHERE id = $1 AND status IN ('pending', 'running') AND run_after <= `+now(db)+` RETURNING `+runColumns, id)
	if errors.Is(err, ErrConflict) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return &list[0], nil
}

// RenewRun prolongs the claim and reports whether it is still the newest.
func RenewRun(ctx context.Context, db bun.IDB, r *PeriodicRun) (bool, error) {
	n, err := execCount(ctx, db, "UPDATE periodic_tasks SET run_after = "+later(db, PeriodicClaimTime)+
		" WHERE id = $1 AND attempts = $2 AND status = 'running'", r.ID, r.Attempts)
	return n > 0, err
}

// ReleaseRun gives a claimed run back; it is due again after wait.
func ReleaseRun(ctx context.Context, db bun.IDB, r *PeriodicRun, wait time.Duration, message string) error {
	_, err := execCount(ctx, db, "UPDATE periodic_tasks SET status = 'pending', message = $3, queued_at = NULL, run_after = "+later(db, wait)+
		" WHERE id = $1 AND attempts = $2 AND status = 'running'", r.ID, r.Attempts, Clean(message, maxReason))
	return err
}

// EndRun records what became of a claimed run, and forgets the oldest runs. It returns false where the claim is not the
// newest any more.
func EndRun(ctx context.Context, db bun.IDB, r *PeriodicRun, status RunStatus, message string) (bool, error) {
	elapsed := "CAST(extract(epoch FROM " + now(db) + " - started_at) * 1000 AS bigint)"
	if isSQLite(db) {
		elapsed = "(" + now(db) + " - started_at) / 1000"
	}
	n, err := execCount(ctx, db, "UPDATE periodic_tasks SET status = $3, message = $4, duration_ms = CASE WHEN "+elapsed+" > 0 THEN "+elapsed+
		" ELSE 0 END WHERE id = $1 AND attempts = $2 AND status = 'running'", r.ID, r.Attempts, string(status), Clean(message, maxReason))
	if err != nil {
		return false, err
	}
	_, err = execCount(ctx, db, "DELETE FROM periodic_tasks WHERE task = $1 AND status NOT IN ('pending', 'running') AND id NOT IN (SELECT id FROM periodic_tasks WHERE task = $1 ORDER BY id DESC LIMIT $2)", r.Task, keptRuns)
	return n > 0, err
}
