package dbmodel_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// doomed is a product with 600 notifications, each with a delivery that waits and one that failed, observations of which
// something is remembered, an event of its gate, and a member; and the same of another product, which stays.
type doomed struct {
	t      *testing.T
	db     *dbmodel.DB
	member dbmodel.Viewer
	target int64
}

const (
	doomedProduct = 4
	otherProduct  = 5
	doomedEach    = 600 // notifications and observations of each product
)

func newDoomed(t *testing.T, db *dbmodel.DB) *doomed {
	t.Helper()
	d := &doomed{t: t, db: db, target: slackTarget(t, db)}
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		for _, product := range []int64{doomedProduct, otherProduct} {
			if err := dbmodel.AddProduct(ctx, tx, product); err != nil {
				return err
			}
			list := make([]dbmodel.NewNotification, doomedEach)
			for i := range list {
				list[i].Notification = dbmodel.Notification{Type: rule.TypeObservation, Name: "x", ProductID: new(product)}
				list[i].Targets = []int64{d.target, d.target}
			}
			if err := dbmodel.InsertNotifications(ctx, tx, list); err != nil {
				return err
			}
			_, err := dbmodel.InsertEvent(ctx, tx, dbmodel.NewEvent{Kind: dbmodel.KindSecurityGate, ProductID: product})
			if err != nil {
				return err
			}
		}
		return nil
	})
	for _, statement := range []string{
		"UPDATE deliveries SET state = CASE id % 2 WHEN 0 THEN 'failed' ELSE 'pending' END",
		`UPDATE settings SET member_notification_types = '["observation"]'`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, product := range []int64{doomedProduct, otherProduct} {
		list, ids, values := make([]dbmodel.Observation, doomedEach), make([]int64, doomedEach), make([]*rule.Values, doomedEach)
		for i := range list {
			list[i] = observationIn(product, product*10_000+int64(i))
			ids[i], values[i] = list[i].ID, &rule.Values{Severity: rule.High, Status: rule.Open}
		}
		if _, err := dbmodel.AcceptObservations(t.Context(), db, list, dbmodel.AcceptOptions{}); err != nil {
			t.Fatal(err)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.Remember(ctx, tx, ids, values) })
	}
	if _, err := db.ExecContext(t.Context(), "DELETE FROM outbox WHERE kind = 'observation'"); err != nil {
		t.Fatal(err)
	}
	c := crowd{db: db}
	d.member = c.member(t, "member", doomedProduct)
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		return dbmodel.MarkViewed(ctx, tx, d.member, []int64{1, 2, 3})
	})
	return d
}

func observationIn(product, id int64) dbmodel.Observation {
	return dbmodel.Observation{ID: id, ProductID: product, Title: "CVE", Severity: rule.High, Status: rule.Open, ParserType: "SCA"}
}

func (d *doomed) delete() {
	d.t.Helper()
	inTx(d.t, d.db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteProduct(ctx, tx, doomedProduct) })
}

// isGone checks that everybody sees what the other product has, and nothing else.
func (d *doomed) isGone(when string) {
	d.t.Helper()
	ctx := d.t.Context()
	list, err := dbmodel.Notifications(ctx, d.db, everything, dbmodel.NotificationFilter{ProductID: doomedProduct}, 10)
	if err != nil || len(list) > 0 {
		d.t.Fatalf("%s: %d notifications: %v", when, len(list), err)
	}
	if list, err = dbmodel.Notifications(ctx, d.db, d.member, dbmodel.NotificationFilter{}, 10); err != nil || len(list) > 0 {
		d.t.Fatalf("%s: the member sees %d notifications: %v", when, len(list), err)
	}
	if n, err := dbmodel.UnreadCount(ctx, d.db, dbmodel.AutomationViewer(), 0); err != nil || n != doomedEach {
		d.t.Fatalf("%s: %d not viewed: %v", when, n, err)
	}
	deliveries, err := dbmodel.Deliveries(ctx, d.db, everything, dbmodel.DeliveryFilter{}, 10_000)
	if err != nil || len(deliveries) != 2*doomedEach {
		d.t.Fatalf("%s: %d deliveries: %v", when, len(deliveries), err)
	}
	pending, err := dbmodel.PendingDeliveries(ctx, d.db, d.target, 10_000)
	if err != nil || len(pending) != doomedEach {
		d.t.Fatalf("%s: %d deliveries are to be sent: %v", when, len(pending), err)
	}
	counts, err := dbmodel.Count(ctx, d.db)
	want := dbmodel.Counts{Outbox: counts.Outbox, PendingDeliveries: doomedEach, FailedDeliveries: doomedEach}
	if err != nil || counts != want {
		d.t.Fatalf("%s: %+v, want %+v: %v", when, counts, want, err)
	}
	if _, err := dbmodel.ObservationByID(ctx, d.db, 40_001); !errors.Is(err, dbmodel.ErrNotFound) {
		d.t.Fatalf("%s: an observation is there: %v", when, err)
	}
	found, err := dbmodel.SearchObservations(ctx, d.db, everything, dbmodel.ObservationSearch{}, 10_000)
	if err != nil || len(found) < doomedEach || len(found) > doomedEach+1 {
		d.t.Fatalf("%s: %d observations: %v", when, len(found), err)
	}
}

// removeBatch removes a batch; the error rolls it back, as a crash does.
func (d *doomed) removeBatch(crash error) (n int64) {
	d.t.Helper()
	err := d.db.InTx(context.WithoutCancel(d.t.Context()), func(ctx context.Context, tx bun.Tx) (err error) {
		if n, err = dbmodel.RemoveDeleted(ctx, tx); err == nil {
			err = crash
		}
		return err
	})
	if !errors.Is(err, crash) {
		d.t.Error(err)
	}
	return n
}

// removeAll removes batches until one finds nothing.
func (d *doomed) removeAll() {
	d.t.Helper()
	for removed := int64(1); removed > 0; {
		removed = d.removeBatch(nil)
	}
}

// isRemoved checks that nothing is left but what belongs to the other product, and a number of observations.
func (d *doomed) isRemoved(observations int) {
	d.t.Helper()
	for table, want := range map[string]int{
		"deletions": 0, "deleted_notifications": 0, "notifications": doomedEach, "deliveries": 2 * doomedEach,
		"observations": doomedEach + observations, "notification_views": 0,
	} {
		var n int
		if err := d.db.NewSelect().TableExpr(table).ColumnExpr("count(*)").Scan(d.t.Context(), &n); err != nil || n != want {
			d.t.Errorf("%d rows are left in %s, want %d: %v", n, table, want, err)
		}
	}
}

// TestDeleteProductInBatches: a product is gone at once, also while it is removed, and where processes are lost meanwhile; one
// that is created again under its id starts empty.
func TestDeleteProductInBatches(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx, d := t.Context(), newDoomed(t, db)
		d.delete()
		d.isGone("at once")
		_, err := dbmodel.AcceptObservations(ctx, db, []dbmodel.Observation{observationIn(doomedProduct, 40_000)}, dbmodel.AcceptOptions{})
		if _, unknown := errors.AsType[*dbmodel.UnknownProductsError](err); !unknown {
			t.Fatalf("accepted for a deleted product: %v", err)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			return errors.Join(dbmodel.AddProduct(ctx, tx, doomedProduct),
				dbmodel.SaveProduct(ctx, tx, &dbmodel.Product{ID: doomedProduct, Name: "Again"}),
				dbmodel.SetMember(ctx, tx, dbmodel.InProduct(doomedProduct), d.member.UserID, rule.Owner))
		})
		done, err := dbmodel.AcceptObservations(ctx, db, []dbmodel.Observation{observationIn(doomedProduct, 40_000)}, dbmodel.AcceptOptions{})
		if err != nil || done.Changed != 1 {
			t.Fatalf("accepted after the product was created again: %+v %v", done, err)
		}
		d.isGone("created again")
		for n := int64(1); n > 0; {
			d.removeBatch(errors.New("crash"))
			d.isGone("after a crash")
			n = d.removeBatch(nil)
			d.isGone("after a batch")
		}
		d.isRemoved(1)
		o, err := dbmodel.ObservationByID(ctx, db, 40_000)
		if err != nil || o.Remembered != nil {
			t.Errorf("what was deleted is remembered: %+v %v", o, err)
		}
	})
}

// TestDeletedEvent: a change of a gate before the deletion is none of the product that is created again.
func TestDeletedEvent(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		d := newDoomed(t, db)
		for product, want := range map[int64]bool{doomedProduct: true, otherProduct: false} {
			id, err := dbmodel.NextInOrder(t.Context(), db, dbmodel.KindSecurityGate, product)
			if err != nil {
				t.Fatal(err)
			}
			if want {
				d.delete()
			}
			e := &dbmodel.Event{ID: id, ProductID: product}
			if deleted, err := e.IsDeleted(t.Context(), db); err != nil || deleted != want {
				t.Errorf("event of product %d is deleted: %t %v", product, deleted, err)
			}
		}
	})
}

// TestMoveFromDeletedProduct: an observation that comes in another product is new, and is not removed.
func TestMoveFromDeletedProduct(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		d := newDoomed(t, db)
		d.delete()
		moved := observationIn(otherProduct, 40_000)
		done, err := dbmodel.AcceptObservations(t.Context(), db, []dbmodel.Observation{moved}, dbmodel.AcceptOptions{})
		if err != nil || done.Changed != 1 {
			t.Fatalf("%+v %v", done, err)
		}
		d.removeAll()
		d.isRemoved(1)
		o, err := dbmodel.ObservationByID(t.Context(), db, moved.ID)
		if err != nil || o.Remembered != nil || !cmp.Equal(o.Observation, moved) {
			t.Errorf("%+v %v", o, err)
		}
	})
}

// TestTwoRemoveAtOnce: they neither wait for each other for long nor leave anything.
func TestTwoRemoveAtOnce(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		d := newDoomed(t, db)
		d.delete()
		var all sync.WaitGroup
		for range 2 {
			all.Go(d.removeAll)
		}
		all.Wait()
		d.removeAll() // what one left to the other
		d.isRemoved(0)
	})
}

// TestAcceptDuringDeletion: while the deletion of a product, or a batch of its removal, is under way, nobody else waits. SQLite
// has one writer: there it is the batch that is short.
func TestAcceptDuringDeletion(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	newDoomed(t, db)
	accept := func(product, id int64) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		o := observationIn(product, id)
		o.Title = "Another"
		done, err := dbmodel.AcceptObservations(ctx, db, []dbmodel.Observation{o}, dbmodel.AcceptOptions{})
		if err == nil && done.Changed != 1 {
			err = fmt.Errorf("%+v", done)
		}
		return err
	}
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		if err := dbmodel.DeleteProduct(ctx, tx, doomedProduct); err != nil {
			return err
		}
		return accept(otherProduct, 1)
	})
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.AddProduct(ctx, tx, doomedProduct) })
	for id, n := int64(2), int64(1); n > 0; id += 2 {
		inTx(t, db, func(ctx context.Context, tx bun.Tx) (err error) {
			if n, err = dbmodel.RemoveDeleted(ctx, tx); err != nil {
				return err
			}
			return errors.Join(accept(otherProduct, id), accept(doomedProduct, id+1))
		})
	}
}

// TestDeleteUserInBatches: the marks of a user are removed after the user.
func TestDeleteUserInBatches(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		d := newDoomed(t, db)
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteUser(ctx, tx, d.member.UserID) })
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.MarkViewed(ctx, tx, d.member, []int64{4}) })
		d.removeAll()
		for _, table := range []string{"deletions", "notification_views"} {
			var n int
			if err := db.NewSelect().TableExpr(table).ColumnExpr("count(*)").Scan(t.Context(), &n); err != nil || n > 0 {
				t.Errorf("%d rows are left in %s: %v", n, table, err)
			}
		}
	})
}

// TestAcceptDuringGroupDeletion: while a group is deleted, which belongs to its products but owns nothing that grows, nobody
// waits who reports something of its products.
func TestAcceptDuringGroupDeletion(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	newDoomed(t, db)
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		err := dbmodel.AddProductGroup(ctx, tx, 1)
		return errors.Join(err, dbmodel.SaveProduct(ctx, tx, &dbmodel.Product{ID: otherProduct, Name: "x", ProductGroupID: new(int64(1))}))
	})
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		if err := dbmodel.DeleteProductGroup(ctx, tx, 1); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := dbmodel.AcceptObservations(ctx, db, []dbmodel.Observation{observationIn(otherProduct, 1)}, dbmodel.AcceptOptions{})
		return err
	})
}

// TestRemovalWaitsForNoLock begins the removal while another one ends the first deletion.
func TestRemovalWaitsForNoLock(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t) // SQLite has one writer
	saveProducts(t, db, 1, 2)
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		return errors.Join(dbmodel.DeleteProduct(ctx, tx, 1), dbmodel.DeleteProduct(ctx, tx, 2))
	})
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		first, err := dbmodel.RemoveDeleted(ctx, tx)
		if err != nil {
			return err
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = '1s'"); err != nil {
				return err
			}
			second, err := dbmodel.RemoveDeleted(ctx, tx)
			if first != 1 || second != 1 {
				t.Errorf("removed %d and %d deletions, want one each", first, second)
			}
			return err
		})
		return nil
	})
	if work, err := dbmodel.FindSweepWork(t.Context(), db); err != nil || work.Deletions {
		t.Errorf("deletions are left: %+v %v", work, err)
	}
}

// TestRemovalReadsFewDeletions: what one part costs does not grow with the number of deletions.
func TestRemovalReadsFewDeletions(t *testing.T) {
	t.Parallel()
	db := testenv.PostgresDB(t)
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO deletions (user_id) SELECT i FROM generate_series(1, 500) AS i")
		return err
	})
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		if _, err := dbmodel.RemoveDeleted(ctx, tx); err != nil {
			return err
		}
		var read int
		err := tx.NewRaw("SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables WHERE relname = 'deletions'").
			Scan(ctx, &read)
		if read > 100 {
			t.Errorf("read %d rows of deletions", read)
		}
		return err
	})
}
