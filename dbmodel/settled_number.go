package dbmodel

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// lastNumber is an expression of the newest number that a notification got as its id, or when its pause ended.
func lastNumber(db bun.IDB) string {
	if isSQLite(db) {
		return "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'notifications'), 0)"
	}
	return "(SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM notifications_id_seq)"
}

// writers are the transactions that write notifications: each holds this lock from before it takes a number until its
// end.
const writers = `
	SELECT virtualtransaction FROM pg_locks
	WHERE relation = 'notifications'::regclass
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()`

// SettledNumber returns the newest number of a notification, once every notification with it or a lower one is
// committed or never will be. It waits for the transactions that write notifications when it is called, and keeps no
// other one waiting. Where they take longer than wait, it returns an error other than ErrUnavailable.
func SettledNumber(ctx context.Context, db *DB, wait time.Duration) (int64, error) {
	n, err := queryOne[int64](ctx, db, "SELECT @last", args{"last": bun.Safe(lastNumber(db))})
	if err != nil || isSQLite(db) { // SQLite has one writer
		return n, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	switch err := writersEnd(waiting, db); {
	case err == nil:
		return n, nil
	case waiting.Err() != nil && ctx.Err() == nil:
		return 0, fmt.Errorf("notifications are still being stored after %s", wait)
	default:
		return 0, fmt.Errorf("wait for notifications that are being stored: %w", err)
	}
}

// writersEnd waits until no transaction is left of those that write notifications now.
func writersEnd(ctx context.Context, db *DB) error {
	begun, err := queryAll[string](ctx, db, writers, nil)
	waiting := make(map[string]bool, len(begun))
	for _, w := range begun {
		waiting[w] = true
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for err == nil && len(waiting) > 0 {
		select {
		case <-ctx.Done():
			return Translate(ctx.Err())
		case <-ticker.C:
		}
		var still []string
		still, err = queryAll[string](ctx, db, writers, nil)
		left := make(map[string]bool, len(still))
		for _, w := range still {
			left[w] = waiting[w]
		}
		for w := range waiting {
			if !left[w] {
				delete(waiting, w)
			}
		}
	}
	return err
}
