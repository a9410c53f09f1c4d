package dbmodel

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// Names of periodic tasks, and of their rows in ticks.
const (
	PeriodicCleanup    = "cleanup"         // deletes notifications, and other rows, that are too old
	PeriodicDigests    = "digests"         // makes the digests of schedules, and of pauses that are over
	PeriodicSecObserve = "secobserve:sync" // reads SecObserve
)

const (
	// PeriodicClaimTime is how long a claimed run belongs to a process that shows no sign of life.
	PeriodicClaimTime = time.Minute
	// PeriodicAttempts is how often a run is begun at the most, beside the attempts that were handed over.
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

// PeriodicRun is one run of a periodic task. Slot is a time of its cron line or, of a task without one, when the run
// was stored.
type PeriodicRun struct {
	ID        int64
	Task      string
	Slot      time.Time
	StartedAt *time.Time     // of the last try
	Duration  *time.Duration `bun:"-"`
	Status    RunStatus
	Message   string
	Attempts  int // tries so far; of a claimed run the token of its claim
	// HandedOver is how many of the attempts ended because their process was stopped, see HandOverRun.
	HandedOver int
}

// MayTryAgain reports whether the run has another attempt where this one fails.
func (r *PeriodicRun) MayTryAgain() bool { return r.Attempts-r.HandedOver < PeriodicAttempts }

// TriedTooOften reports whether this attempt is one too many: the last attempt that was allowed recorded no end of the
// run, because its process was lost or stood still. Each earlier one ended in that way or for want of the database.
func (r *PeriodicRun) TriedTooOften() bool { return r.Attempts-r.HandedOver > PeriodicAttempts }

const runColumns = `id, task, slot, started_at, duration_ms, status, message, attempts, handed_over`

// runRow is a PeriodicRun as it is stored.
type runRow struct {
	PeriodicRun
	DurationMs *int64
}

func (r *runRow) run() PeriodicRun {
	if r.DurationMs != nil {
		r.Duration = new(time.Duration(*r.DurationMs) * time.Millisecond)
	}
	return r.PeriodicRun
}

const periodicRuns = `
	SELECT ` + runColumns + ` FROM periodic_tasks WHERE (id < @before OR @before = 0) ORDER BY id DESC LIMIT @limit`

// PeriodicRuns lists up to limit runs with an id below before (0: all), newest first.
func PeriodicRuns(ctx context.Context, db bun.IDB, before int64, limit int) ([]PeriodicRun, error) {
	list, err := queryAll[runRow](ctx, db, periodicRuns, args{"before": before, "limit": limit})
	out := make([]PeriodicRun, len(list))
	for i := range list {
		out[i] = list[i].run()
	}
	return out, err
}

const lastSlot = `
	SELECT coalesce((SELECT max(slot) FROM periodic_tasks WHERE task = @task AND slot <= @now), next_at)
	FROM ticks WHERE name = @task`

// LastSlot returns the newest slot of a periodic task or, where there is none yet, the time after which its first slot
// may come. Slots after now, the database's time, were stored before its clock was set back, and do not count.
func LastSlot(ctx context.Context, db bun.IDB, task string, now time.Time) (time.Time, error) {
	return queryOne[time.Time](ctx, db, lastSlot, args{"task": task, "now": now})
}

// LockSlots lets no other transaction add slots of a periodic task until the transaction ends.
func LockSlots(ctx context.Context, tx bun.Tx, task string) error {
	_, err := queryAll[string](ctx, tx, `SELECT name FROM ticks WHERE name = @task FOR NO KEY UPDATE`, args{"task": task})
	return err
}

const addSlot = `
	INSERT INTO periodic_tasks (task, slot, queued_at) VALUES (@task, @slot, clock_timestamp())
	ON CONFLICT (task, slot) DO NOTHING RETURNING id`

// AddSlot stores the run of a slot, for which the caller enqueues a task, and returns its id; 0 where it is stored
// already.
func AddSlot(ctx context.Context, db bun.IDB, task string, slot time.Time) (int64, error) {
	id, err := queryOne[int64](ctx, db, addSlot, args{"task": task, "slot": slot})
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return id, err
}

// QueueableRun is a run of a periodic task for which a task must be enqueued.
type QueueableRun struct {
	ID   int64
	Task string
}

const queueRuns = `
	UPDATE periodic_tasks SET queued_at = clock_timestamp() WHERE id IN (
		SELECT id FROM periodic_tasks
		WHERE status IN ('pending', 'running') AND run_after <= clock_timestamp()
			AND (queued_at IS NULL OR queued_at < clock_timestamp() - @lost_after)
		ORDER BY id LIMIT @limit FOR NO KEY UPDATE SKIP LOCKED
	) RETURNING id, task`

// QueueableRuns marks as enqueued, and returns, up to limit runs that are due and for which there is no task: none was
// enqueued, or the newest was enqueued longer ago than lostAfter. A run is due where it was never begun, where its
// process was lost, and where it was given back and has waited long enough.
func QueueableRuns(ctx context.Context, tx bun.Tx, lostAfter time.Duration, limit int) ([]QueueableRun, error) {
	return queryAll[QueueableRun](ctx, tx, queueRuns, args{"lost_after": lostAfter, "limit": limit})
}

const hasWaitingRun = `
	SELECT EXISTS (SELECT 1 FROM periodic_tasks WHERE task = @task AND status IN ('pending', 'running'))`

// HasWaitingRun reports whether a run of a task is under way or still to begin.
func HasWaitingRun(ctx context.Context, db bun.IDB, task string) (bool, error) {
	return queryOne[bool](ctx, db, hasWaitingRun, args{"task": task})
}

const beginRun = `
	INSERT INTO periodic_tasks (task, slot, status, attempts, started_at, run_after)
	VALUES (@task, clock_timestamp(), 'running', 1, clock_timestamp(), clock_timestamp() + @claim_time)
	ON CONFLICT DO NOTHING RETURNING id, task, slot, started_at, status, attempts`

// BeginRun stores and claims a run of a task for the caller. It returns ErrNotFound where another one is under way.
func BeginRun(ctx context.Context, db bun.IDB, task string) (*PeriodicRun, error) {
	r, err := queryOne[PeriodicRun](ctx, db, beginRun, args{"task": task, "claim_time": PeriodicClaimTime})
	return &r, err
}

const claimRun = `
	UPDATE periodic_tasks SET status = 'running', attempts = attempts + 1, started_at = clock_timestamp(),
		run_after = clock_timestamp() + @claim_time, queued_at = NULL
	WHERE id = @id AND status IN ('pending', 'running') AND run_after <= clock_timestamp()
	RETURNING ` + runColumns

// ClaimRun gives a run of a periodic task to the caller. It returns ErrNotFound where the run is over, claimed, or not
// due yet, and where another run of the same task is under way.
func ClaimRun(ctx context.Context, db bun.IDB, id int64) (*PeriodicRun, error) {
	row, err := queryOne[runRow](ctx, db, claimRun, args{"id": id, "claim_time": PeriodicClaimTime})
	if errors.Is(err, ErrConflict) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	run := row.run()
	return &run, nil
}

const renewRun = `
	UPDATE periodic_tasks SET run_after = clock_timestamp() + @claim_time
	WHERE id = @id AND attempts = @token AND status = 'running'`

// RenewRun prolongs the claim and reports whether it is still the newest.
func RenewRun(ctx context.Context, db bun.IDB, r *PeriodicRun) (bool, error) {
	n, err := exec(ctx, db, renewRun, args{"id": r.ID, "token": r.Attempts, "claim_time": PeriodicClaimTime})
	return n > 0, err
}

const releaseRun = `
	UPDATE periodic_tasks SET status = 'pending', message = @message, queued_at = NULL,
		run_after = clock_timestamp() + @wait, handed_over = handed_over + @handed_over
	WHERE id = @id AND attempts = @token AND status = 'running'`

// ReleaseRun gives a claimed run back; it is due again after wait.
func ReleaseRun(ctx context.Context, db bun.IDB, r *PeriodicRun, wait time.Duration, message string) error {
	return giveBack(ctx, db, r, wait, message, 0)
}

// HandOverRun gives a claimed run back because the process stops: another one goes on at once, and the attempt does
// not count.
func HandOverRun(ctx context.Context, db bun.IDB, r *PeriodicRun, message string) error {
	return giveBack(ctx, db, r, 0, message, 1)
}

func giveBack(
	ctx context.Context, db bun.IDB, r *PeriodicRun, wait time.Duration, message string, handedOver int,
) error {
	_, err := exec(ctx, db, releaseRun, args{
		"id": r.ID, "token": r.Attempts, "message": Clean(message, maxReason), "wait": wait, "handed_over": handedOver,
	})
	return err
}

const endRun = `
	UPDATE periodic_tasks SET status = @status, message = @message, duration_ms = CASE
		WHEN clock_timestamp() > started_at THEN (extract(epoch FROM clock_timestamp() - started_at) * 1000)::bigint
		ELSE 0 END
	WHERE id = @id AND attempts = @token AND status = 'running'`

const forgetRuns = `
	DELETE FROM periodic_tasks WHERE task = @task AND status NOT IN ('pending', 'running')
		AND id NOT IN (SELECT id FROM periodic_tasks WHERE task = @task ORDER BY id DESC LIMIT @kept)`

// EndRun records the outcome of a claimed run, and forgets the oldest runs. It returns false where the claim is not
// the newest any more.
func EndRun(ctx context.Context, db bun.IDB, r *PeriodicRun, status RunStatus, message string) (bool, error) {
	n, err := exec(ctx, db, endRun, args{
		"id": r.ID, "token": r.Attempts, "status": string(status), "message": Clean(message, maxReason),
	})
	if err != nil {
		return false, err
	}
	_, err = exec(ctx, db, forgetRuns, args{"task": r.Task, "kept": keptRuns})
	return n > 0, err
}

// LastRuns is when runs of a periodic task ended last; zero: none did.
type LastRuns struct{ Succeeded, Failed time.Time }

const lastRuns = `
	SELECT task, status, started_at, coalesce(duration_ms, 0) AS duration_ms FROM periodic_tasks WHERE id IN (
		SELECT max(id) FROM periodic_tasks WHERE status IN ('succeeded', 'failed') GROUP BY task, status
	)`

// LastRunsByTask returns when runs of the periodic tasks ended last, by task; a task without a run that has ended is
// left out.
func LastRunsByTask(ctx context.Context, db bun.IDB) (map[string]LastRuns, error) {
	list, err := queryAll[struct {
		Task       string
		Status     RunStatus
		StartedAt  time.Time
		DurationMs int64
	}](ctx, db, lastRuns, args{})
	out := map[string]LastRuns{}
	for _, r := range list {
		last, at := out[r.Task], r.StartedAt.Add(time.Duration(r.DurationMs)*time.Millisecond)
		if r.Status == RunSucceeded {
			last.Succeeded = at
		} else {
			last.Failed = at
		}
		out[r.Task] = last
	}
	return out, err
}
