package dbmodel

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Exception is what an event of KindException reports: something failed, in a request or in a background task.
type Exception struct {
	Type          rule.Type       `json:"type"` // TypeException or TypeTask
	Class         string          `json:"class"`
	Message       string          `json:"message,omitempty"`
	Trace         string          `json:"trace,omitempty"`
	User          string          `json:"user,omitempty"`
	Function      string          `json:"function,omitempty"`
	Arguments     json.RawMessage `json:"arguments,omitempty"` // an object, secrets masked
	ProductID     int64           `json:"product_id,omitempty"`
	ObservationID int64           `json:"observation_id,omitempty"`
	Fingerprint   string          `json:"fingerprint"` // hex; the same for the same exception
	// NeverSuppressed: it is notified even within the window of an equal exception.
	NeverSuppressed bool `json:"never_suppressed,omitempty"`
	Own             bool `json:"own,omitempty"` // about Tocsin itself
}

const suppress = `
	INSERT INTO suppressions (key, count) VALUES (@key, 1) ON CONFLICT (key) DO UPDATE SET count = suppressions.count + 1`

// Suppress counts one more occurrence that is not notified.
func Suppress(ctx context.Context, tx bun.Tx, key string) error {
	_, err := exec(ctx, tx, suppress, args{"key": key})
	return err
}

// TakeSuppressed returns how many occurrences were suppressed, and begins to count anew.
func TakeSuppressed(ctx context.Context, tx bun.Tx, key string) (int, error) {
	n, err := queryOne[int](ctx, tx, `DELETE FROM suppressions WHERE key = @key RETURNING count`, args{"key": key})
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	return n, err
}

// NamedByException is the user, observation and product that an exception names, as far as they exist.
type NamedByException struct {
	User        string             // empty: none
	Observation *StoredObservation // nil: none
	Product     *ProductContext    // that of the exception, else that of the observation; nil: none
}

// NamedBy finds the user, observation and product that an exception names, as they are now. It keeps the product from
// being deleted until the transaction ends, so that a notification stored in it is deleted with the product.
func NamedBy(ctx context.Context, tx bun.Tx, e *Exception) (n NamedByException, err error) {
	if e.ObservationID != 0 {
		o, err := ObservationByID(ctx, tx, e.ObservationID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return n, err
		}
		if err == nil {
			n.Observation = o
		}
	}
	product := e.ProductID
	if product == 0 && n.Observation != nil {
		product = n.Observation.ProductID
	}
	if product != 0 {
		contexts, err := KeptProductContexts(ctx, tx, []int64{product})
		if err != nil {
			return n, err
		}
		n.Product = contexts[product]
	}
	if e.User != "" {
		known, err := queryOne[bool](ctx, tx, `SELECT EXISTS (SELECT 1 FROM users WHERE username = @name)`,
			args{"name": e.User})
		if err != nil {
			return n, err
		}
		if known {
			n.User = e.User
		}
	}
	return n, nil
}
