package dbmodel

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// CommittedEvents returns which of the events with these ids are stored in a PostgreSQL database that a Go web tier has
// opened, with any driver: their transactions are committed.
func CommittedEvents(ctx context.Context, db reader, ids []int64) (committed map[int64]bool, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.FormatInt(id, 10)
	}
	// Without arguments: drivers differ in how they pass lists.
	found, err := db.QueryContext(ctx, "SELECT id FROM outbox WHERE id IN ("+strings.Join(list, ", ")+")") // #nosec G202
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	committed = map[int64]bool{}
	for found.Next() {
		var id int64
		if err := found.Scan(&id); err != nil {
			return nil, err
		}
		committed[id] = true
	}
	return committed, found.Err()
}
