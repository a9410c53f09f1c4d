package dbmodel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// crowd is 40 products with 800 notifications of all types, many of them at the same time, and their deliveries. Lists are
// compared with what an administrator is listed of it without any filter.
type crowd struct {
	db            *dbmodel.DB
	notifications []dbmodel.Notification // newest first
	deliveries    []dbmodel.Delivery     // newest first
}

const crowdProducts = 40

// hour is a time that many notifications of a crowd have.
func hour(ago int) time.Time { return time.Date(2025, 3, 31, 12-ago, 0, 0, 0, time.UTC) }

func newCrowd(t *testing.T, db *dbmodel.DB) *crowd {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var list []dbmodel.NewNotification
	for i := range 800 {
		n := dbmodel.NewNotification{Notification: dbmodel.Notification{
			Type: rule.Types[random.IntN(len(rule.Types))], Event: rule.Events[random.IntN(len(rule.Events))],
			Name: fmt.Sprintf("Name %d", i%10), Username: []string{"", "alex", "bob"}[random.IntN(3)],
		}}
		if p := random.Int64N(crowdProducts + 3); p > 2 {
			n.ProductID = new(p - 2)
		}
		for target := range random.Int64N(3) {
			n.Targets = append(n.Targets, target+1)
		}
		list = append(list, n)
	}
	inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewRaw("INSERT INTO targets (channel, key, address) VALUES ('slack', '1', '1'), ('email', '2', '2')").Exec(ctx); err != nil {
			return err
		}
		return dbmodel.InsertNotifications(ctx, tx, list)
	})
	for p := range int64(crowdProducts) {
		saveProducts(t, db, p+1)
	}
	run := func(query string, args ...any) {
		if _, err := db.NewRaw(query, args...).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		run("UPDATE notifications SET created_at = ? WHERE id * 17 % 30 = ?", hour(i), i)
	}
	run("UPDATE notifications SET created_at = ? WHERE product_id % 4 = 1", hour(40)) // the quiet products
	run("UPDATE deliveries SET state = CASE id % 5 WHEN 0 THEN 'failed' WHEN 1 THEN 'pending' ELSE 'sent' END")
	for id := range int64(300) {
		run("INSERT INTO observations (id, product_id, title, title_hash, severity, status, parser_type) VALUES (?, ?, ?, 1, 'High', 'Open', 'SCA')",
			id+1, observedIn(id+1), fmt.Sprintf("Title %d", id%10))
	}
	run(`UPDATE settings SET member_notification_types = '["observation", "task"]'`)
	c := &crowd{db: db}
	var err error
	if c.notifications, err = dbmodel.Notifications(t.Context(), db, dbmodel.Viewer{Admin: true}, dbmodel.NotificationFilter{}, 1000); err != nil {
		t.Fatal(err)
	}
	if c.deliveries, err = dbmodel.Deliveries(t.Context(), db, dbmodel.Viewer{Admin: true}, dbmodel.DeliveryFilter{}, 1000); err != nil {
		t.Fatal(err)
	}
	if len(c.notifications) != 800 || len(c.deliveries) < 700 {
		t.Fatalf("%d notifications, %d deliveries", len(c.notifications), len(c.deliveries))
	}
	return c
}

// observedIn is the product of an observation of a crowd.
func observedIn(id int64) int64 { return id*id%crowdProducts + 1 }

// member makes a user a member of these products.
func (c *crowd) member(t *testing.T, name string, products ...int64) dbmodel.Viewer {
	t.Helper()
	if _, err := dbmodel.AddUser(t.Context(), c.db, name); err != nil {
		t.Fatal(err)
	}
	u, err := dbmodel.UserByName(t.Context(), c.db, name)
	if err != nil {
		t.Fatal(err)
	}
	inTx(t, c.db, func(ctx context.Context, tx bun.Tx) error {
		for _, p := range products {
			if err := dbmodel.SetMember(ctx, tx, dbmodel.InProduct(p), u.ID, rule.Reader); err != nil {
				return err
			}
		}
		return nil
	})
	return u.Viewer()
}

// The lists of somebody, page by page, are what an administrator sees, less what they may not see or do not ask for: however
// few of the rows that leaves, and in whatever order.
func TestLists(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		c := newCrowd(t, db)
		everything := make([]int64, crowdProducts)
		for i := range everything {
			everything[i] = int64(i + 1)
		}
		for name, v := range map[string]struct {
			viewer   dbmodel.Viewer
			products []int64
		}{
			"administrator": {dbmodel.Viewer{Admin: true, UserID: c.member(t, "root").UserID}, nil},
			"no product":    {c.member(t, "nobody"), nil},
			"quiet":         {c.member(t, "quiet", 5), []int64{5}},
			"some":          {c.member(t, "some", 1, 2, 3, 9, 13), []int64{1, 2, 3, 9, 13}},
			"all products":  {c.member(t, "all", everything...), everything},
		} {
			sees := func(n *dbmodel.Notification) bool {
				return v.viewer.Admin || (n.Type == rule.TypeObservation || n.Type == rule.TypeTask) && n.ProductID != nil && slices.Contains(v.products, *n.ProductID)
			}
			t.Run(name, func(t *testing.T) {
				c.compareNotifications(t, v.viewer, sees, func(int64) bool { return false })
				c.compareDeliveries(t, v.viewer, sees)
				c.compareObservations(t, v.viewer, v.products)
				// Some by itself, before and after what is viewed until a time.
				viewed := map[int64]bool{}
				inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
					var ids []int64
					for i := range c.notifications {
						n := &c.notifications[i]
						if n.ID%3 == 0 {
							ids = append(ids, n.ID)
						}
						viewed[n.ID] = n.ID%3 == 0 || n.CreatedAt.Before(hour(20))
					}
					if err := dbmodel.MarkViewed(ctx, tx, v.viewer, ids); err != nil {
						return err
					}
					return dbmodel.MarkViewedUntil(ctx, tx, v.viewer, hour(20))
				})
				c.compareNotifications(t, v.viewer, sees, func(id int64) bool { return viewed[id] })
			})
		}
	})
}

func (c *crowd) compareNotifications(t *testing.T, v dbmodel.Viewer, sees func(*dbmodel.Notification) bool, viewed func(int64) bool) {
	t.Helper()
	const page = 20 // fewer than some see products
	for what, f := range map[string]dbmodel.NotificationFilter{
		"all": {}, "viewed": {Viewed: new(true)}, "not viewed": {Viewed: new(false)}, "type": {Type: rule.TypeTask}, "hidden type": {Type: rule.TypeException},
		"event": {Event: rule.EventDropped}, "event and type": {Event: rule.EventFailed, Type: rule.TypeObservation}, "product": {ProductID: 3}, "quiet product": {ProductID: 5},
		"product, type and event": {ProductID: 3, Type: rule.TypeTask, Event: rule.EventNew}, "user": {User: "alex"}, "name": {Contains: "ME 7"},
		"days": {Since: hour(25), Until: hour(10)}, "product, not viewed": {ProductID: 3, Viewed: new(false)}, "user, viewed": {User: "bob", Viewed: new(true)},
		"name, type, not viewed": {Contains: "name", Type: rule.TypeObservation, Viewed: new(false)},
	} {
		var want []int64
		for i := range c.notifications {
			n := &c.notifications[i]
			product := int64(0)
			if n.ProductID != nil {
				product = *n.ProductID
			}
			switch {
			case !sees(n), f.Viewed != nil && *f.Viewed != viewed(n.ID), f.Type != "" && f.Type != n.Type, f.Event != "" && f.Event != n.Event,
				f.ProductID != 0 && f.ProductID != product, f.User != "" && f.User != n.Username, f.Contains == "ME 7" && n.Name != "Name 7",
				n.CreatedAt.Before(f.Since), !f.Until.IsZero() && !n.CreatedAt.Before(f.Until):
			default:
				want = append(want, n.ID)
			}
		}
		if f.Viewed != nil && !*f.Viewed && f.ProductID == 0 && f.Contains == "" {
			for most, count := range map[int]int{0: len(want), 5: min(5, len(want))} {
				if n, err := dbmodel.UnreadCount(t.Context(), c.db, v, most); err != nil || n != count {
					t.Errorf("%d are not viewed (of %d at most), %v; there are %d", n, most, err, len(want))
				}
			}
		}
		for _, oldestFirst := range []bool{false, true} {
			f.OldestFirst, f.Behind = oldestFirst, nil
			var got []int64
			for {
				list, err := dbmodel.Notifications(t.Context(), c.db, v, f, page)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				for i := range list {
					got = append(got, list[i].ID)
				}
				if len(list) < page {
					break
				}
				f.Behind = &dbmodel.Position{CreatedAt: list[page-1].CreatedAt, ID: list[page-1].ID}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, oldest first %t:\n%s", what, oldestFirst, diff)
			}
			slices.Reverse(want)
		}
	}
}

func (c *crowd) compareDeliveries(t *testing.T, v dbmodel.Viewer, sees func(*dbmodel.Notification) bool) {
	t.Helper()
	of := map[int64]*dbmodel.Notification{}
	for i := range c.notifications {
		of[c.notifications[i].ID] = &c.notifications[i]
	}
	const page = 20
	for what, f := range map[string]dbmodel.DeliveryFilter{
		"all": {}, "failed": {State: dbmodel.Failed}, "pending": {State: dbmodel.Pending}, "sent": {State: dbmodel.Sent}, "channel": {Channel: rule.Email},
		"no such channel": {Channel: rule.MSTeams}, "product": {ProductID: 3}, "product and state": {ProductID: 3, State: dbmodel.Failed},
		"state and channel": {State: dbmodel.Failed, Channel: rule.Slack},
	} {
		var want []int64
		for i := range c.deliveries {
			d := &c.deliveries[i]
			n := of[d.NotificationID]
			if sees(n) && (f.State == "" || f.State == d.State) && (f.Channel == "" || f.Channel == d.Channel) && (f.ProductID == 0 || n.ProductID != nil && *n.ProductID == f.ProductID) {
				want = append(want, d.ID)
			}
		}
		got := inPages(t, what, page, func(last int64) ([]dbmodel.Delivery, error) {
			f.Before = last
			return dbmodel.Deliveries(t.Context(), c.db, v, f, page)
		}, func(d *dbmodel.Delivery) int64 { return d.ID })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("deliveries, %s:\n%s", what, diff)
		}
	}
}

func (c *crowd) compareObservations(t *testing.T, v dbmodel.Viewer, products []int64) {
	t.Helper()
	const page = 20
	for what, s := range map[string]dbmodel.ObservationSearch{
		"all": {}, "title": {Part: "TLE 4"}, "title or id": {Part: "TLE 4", ID: 16}, "product": {ProductID: 1}, "product and title": {ProductID: 5, Part: "Title 2"},
	} {
		var want []int64
		for id := range int64(300) {
			id++
			if product := observedIn(id); (v.Admin || slices.Contains(products, product)) && (s.ProductID == 0 || s.ProductID == product) &&
				(s.Part == "" || strings.Contains(fmt.Sprintf("TITLE %d", (id-1)%10), strings.ToUpper(s.Part)) || s.ID == id) {
				want = append(want, id)
			}
		}
		got := inPages(t, what, page, func(last int64) ([]dbmodel.StoredObservation, error) {
			s.After = last
			return dbmodel.SearchObservations(t.Context(), c.db, v, s, page)
		}, func(o *dbmodel.StoredObservation) int64 { return o.ID })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("observations, %s:\n%s", what, diff)
		}
	}
}

// inPages lists the ids of all pages; ask gets the last id of the page before, at first 0.
func inPages[T any](t *testing.T, what string, page int, ask func(last int64) ([]T, error), idOf func(*T) int64) (ids []int64) {
	t.Helper()
	for last := int64(0); ; last = ids[len(ids)-1] {
		list, err := ask(last)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for i := range list {
			ids = append(ids, idOf(&list[i]))
		}
		if len(list) < page {
			return ids
		}
	}
}
