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

func saveProducts(t *testing.T, db *dbmodel.DB, ids ...int64) {
	t.Helper()
	for _, id := range ids {
		if err := dbmodel.SaveProduct(t.Context(), db, &dbmodel.Product{ID: id, Name: "Product"}); err != nil {
			t.Fatal(err)
		}
	}
}

// newVault is a vault with a key of zeros.
func newVault(t testing.TB, db *dbmodel.DB) *dbmodel.Vault {
	t.Helper()
	vault, err := dbmodel.OpenVault(t.Context(), db, make([]byte, dbmodel.KeySize), nil)
	if err != nil {
		t.Fatal(err)
	}
	return vault
}

func inTx(t *testing.T, db *dbmodel.DB, fn func(ctx context.Context, tx bun.Tx) error) {
	t.Helper()
	if err := db.InTx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestAcceptObservations(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		saveProducts(t, db, 1, 2)
		full := dbmodel.Observation{
			ID: 2, ProductID: 1, Title: "SQL injection \"quoted\" ü €", Severity: rule.High, Status: rule.Open, Priority: new(3), ParserType: "SAST",
			Details: dbmodel.Details{VulnerabilityID: "CVE-2026-1", CVSSScore: new(9.8), Origin: dbmodel.Origin{Component: "openssl", File: "a/b"}, URL: "https://example.com"},
		}
		bare := dbmodel.Observation{ID: 1, ProductID: 2, Title: "b", Severity: rule.SeverityNone, Status: rule.InReview, ParserType: "SCA", Details: dbmodel.Details{Origin: dbmodel.Origin{Text: "here"}}}
		accept := func(list ...dbmodel.Observation) dbmodel.StoredChunk {
			t.Helper()
			a, err := dbmodel.AcceptObservations(ctx, db, list, dbmodel.AcceptOptions{Bulk: true, Queued: true})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		if a := accept(full, bare); a.Changed != 2 || a.EventID == 0 {
			t.Fatalf("new observations: %+v", a)
		}
		if a := accept(full, bare); a != (dbmodel.StoredChunk{}) {
			t.Fatalf("unchanged observations: %+v", a)
		}
		for name, change := range map[string]func(*dbmodel.Observation){
			"product":  func(o *dbmodel.Observation) { o.ProductID = 2 },
			"title":    func(o *dbmodel.Observation) { o.Title += "x" },
			"severity": func(o *dbmodel.Observation) { o.Severity = rule.Low },
			"status":   func(o *dbmodel.Observation) { o.Status = rule.Resolved },
			"priority": func(o *dbmodel.Observation) { o.Priority = nil },
			"parser":   func(o *dbmodel.Observation) { o.ParserType = "DAST" },
			"vuln":     func(o *dbmodel.Observation) { o.VulnerabilityID = "" },
			"cvss":     func(o *dbmodel.Observation) { o.CVSSScore = nil },
			"origin":   func(o *dbmodel.Observation) { o.Origin.Image = "img" },
			"url":      func(o *dbmodel.Observation) { o.URL = "" },
		} {
			changed := full
			change(&changed)
			if a := accept(changed, bare); a.Changed != 1 {
				t.Fatalf("%s differs: %+v", name, a)
			}
			stored, err := dbmodel.ObservationByID(ctx, db, 2)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(changed, stored.Observation); diff != "" {
				t.Fatalf("%s: stored (-want +got):\n%s", name, diff)
			}
			accept(full)
		}
		var unknown *dbmodel.UnknownProductsError
		stranger := bare
		stranger.ID, stranger.ProductID = 3, 77
		if _, err := dbmodel.AcceptObservations(ctx, db, []dbmodel.Observation{stranger, bare}, dbmodel.AcceptOptions{Bulk: true, Queued: true}); !errors.As(err, &unknown) || !cmp.Equal(unknown.IDs, []int64{77}) {
			t.Fatalf("unknown product: %v", err)
		}
		if _, err := dbmodel.ObservationByID(ctx, db, 3); !errors.Is(err, dbmodel.ErrNotFound) {
			t.Fatalf("an observation of an unknown product: %v", err)
		}
		c, err := dbmodel.Count(ctx, db)
		if err != nil || c.Outbox != 21 {
			t.Fatalf("events: %+v %v", c, err)
		}
	})
}

func TestRemember(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		saveProducts(t, db, 1)
		list := []dbmodel.Observation{
			{ID: 1, ProductID: 1, Title: "a", Severity: rule.High, Status: rule.Open, ParserType: "SCA"},
			{ID: 2, ProductID: 1, Title: "a", Severity: rule.Low, Status: rule.Open, ParserType: "SCA", Priority: new(4)},
		}
		if _, err := dbmodel.AcceptObservations(ctx, db, list, dbmodel.AcceptOptions{}); err != nil {
			t.Fatal(err)
		}
		want := &rule.Values{Severity: rule.High, Status: rule.Affected, Priority: new(7), KnownExploited: new(true)}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.Remember(ctx, tx, []int64{1, 2}, []*rule.Values{want, {Severity: rule.Low, Status: rule.Open}})
		})
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			got, err := dbmodel.ObservationsForUpdate(ctx, tx, []int64{3, 2, 1})
			if err != nil || len(got) != 2 || !cmp.Equal(got[0].Remembered, want) || got[1].Remembered.Priority != nil || got[1].Remembered.KnownExploited != nil {
				t.Errorf("remembered: %+v %v", got, err)
			}
			return dbmodel.Remember(ctx, tx, []int64{1}, []*rule.Values{nil})
		})
		if o, err := dbmodel.ObservationByID(ctx, db, 1); err != nil || o.Remembered != nil {
			t.Fatalf("forgotten: %+v %v", o, err)
		}
		if o, err := dbmodel.ObservationByID(ctx, db, 2); err != nil || o.Remembered == nil {
			t.Fatalf("kept: %+v %v", o, err)
		}
		counts, err := dbmodel.TitleCounts(ctx, db, []string{"a", "b"})
		if err != nil || counts["a"] != (dbmodel.TitleCount{Observations: 2, Products: 1}) {
			t.Fatalf("counts: %v %v", counts, err)
		}
	})
}

func TestTitles(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		hashes := []dbmodel.Hash{dbmodel.TitleHash("a"), dbmodel.TitleHash("b")}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			got, err := dbmodel.LockTitles(ctx, tx, hashes, []string{"a", "b"})
			if err != nil || len(got) != 0 {
				t.Errorf("new titles: %v %v", got, err)
			}
			return dbmodel.RememberTitles(ctx, tx, hashes[:1], []*rule.Values{{Severity: rule.High, Status: rule.Open, KnownExploited: new(false)}})
		})
		got, err := dbmodel.RememberedTitles(t.Context(), db, hashes)
		if want := map[dbmodel.Hash]*rule.Values{hashes[0]: {Severity: rule.High, Status: rule.Open, KnownExploited: new(false)}}; err != nil || !cmp.Equal(got, want) {
			t.Fatalf("remembered: %v %v", got, err)
		}
	})
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		id := insertEvent(t, db, dbmodel.NewEvent{Kind: dbmodel.KindObservation, Payload: dbmodel.EventPayload{IDs: []int64{5, 6}}, Queued: true})
		claimOf := func(kind dbmodel.EventKind, id int64, alone bool) *dbmodel.Event {
			t.Helper()
			e, err := dbmodel.ClaimEvent(ctx, db, kind, id, alone)
			if errors.Is(err, dbmodel.ErrNotFound) {
				return nil
			}
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		claim := func(id int64, alone bool) *dbmodel.Event { return claimOf(dbmodel.KindObservation, id, alone) }
		e := claim(id, false)
		if e == nil || e.Attempts != 1 || !cmp.Equal(e.Payload.IDs, []int64{5, 6}) || e.CreatedAt.IsZero() {
			t.Fatalf("claimed: %+v", e)
		}
		if claim(id, false) != nil || claim(id, true) != nil {
			t.Fatal("claimed twice")
		}
		if err := dbmodel.FailEvent(ctx, db, e, "no luck", 0); err != nil {
			t.Fatal(err)
		}
		again := claim(id, false)
		if again == nil || again.Failures != 1 || again.Reason != "no luck" {
			t.Fatalf("after a failure: %+v", again)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			if taken, err := dbmodel.TakeEvent(ctx, tx, e); taken || err != nil {
				t.Errorf("an old claim took the event: %v", err)
			}
			split, err := dbmodel.SplitEvent(ctx, tx, again)
			if !split {
				t.Error("not split")
			}
			return err
		})
		var singles []dbmodel.QueueableEvent
		inTx(t, db, func(ctx context.Context, tx bun.Tx) (err error) {
			singles, err = dbmodel.QueueableEvents(ctx, tx, false, time.Minute, 10)
			return err
		})
		if len(singles) != 2 || singles[0].Alone {
			t.Fatalf("queueable: %+v", singles)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			list, err := dbmodel.QueueableEvents(ctx, tx, false, time.Minute, 10)
			if len(list) != 0 {
				t.Errorf("queued twice: %+v", list)
			}
			return err
		})
		single := claim(singles[0].ID, false)
		if aside, err := dbmodel.SetEventAside(ctx, db, single, "bad"); !aside || err != nil {
			t.Fatalf("set aside: %v %v", aside, err)
		}
		if claim(singles[0].ID, false) != nil {
			t.Fatal("claimed what is set aside")
		}
		released := claim(singles[1].ID, false)
		if err := dbmodel.ReleaseEvent(ctx, db, released, 0); err != nil {
			t.Fatal(err)
		}
		if claim(singles[1].ID, true) != nil {
			t.Fatal("claimed alone what needs it not")
		}
		c, err := dbmodel.Count(ctx, db)
		if err != nil || c.Outbox != 1 || c.FailedEvents != 1 {
			t.Fatalf("counts: %+v %v", c, err)
		}
		first, second := insertEvent(t, db, dbmodel.NewEvent{Kind: dbmodel.KindSecurityGate, ProductID: 9, Payload: dbmodel.EventPayload{After: new(false)}}), insertEvent(t, db, dbmodel.NewEvent{Kind: dbmodel.KindSecurityGate, ProductID: 9})
		if next, err := dbmodel.NextInOrder(ctx, db, dbmodel.KindSecurityGate, 9); err != nil || next != first || second <= first {
			t.Fatalf("next gate: %d %v", next, err)
		}
		if g := claimOf(dbmodel.KindSecurityGate, first, false); g == nil || g.Payload.After == nil || *g.Payload.After || g.Payload.Before != nil || g.ProductID != 9 {
			t.Fatalf("gate: %+v", g)
		}
	})
}

func TestNotificationsAndDeliveries(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		vault := newVault(t, db)
		emails, err := dbmodel.EnsureTargets(ctx, db, vault, rule.Email, []string{"a@example.com", "B@example.com", "b@EXAMPLE.com"})
		if err != nil || len(emails) != 3 || emails[1] != emails[2] || emails[0] == emails[1] {
			t.Fatalf("targets: %v %v", emails, err)
		}
		n := dbmodel.NewNotification{Notification: dbmodel.Notification{
			Type: rule.TypeObservation, Event: rule.EventNew, Name: "50%_off Größe", ProductID: new(int64(4)), ObservationID: new(int64(5)),
			Facts: dbmodel.Facts{ProductName: "P", Details: dbmodel.Details{CVSSScore: new(7.5), Origin: dbmodel.Origin{Image: "x"}}},
		}, Targets: emails[:2]}
		n.SetValues(nil, &rule.Values{Severity: rule.Critical, Status: rule.Open, Priority: new(1), KnownExploited: new(true)})
		gate := dbmodel.NewNotification{Notification: dbmodel.Notification{Type: rule.TypeSecurityGate, Event: rule.EventFailed, Name: "P", ProductID: new(int64(4))}}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			return dbmodel.InsertNotifications(ctx, tx, []dbmodel.NewNotification{n, gate, n})
		})
		list, err := dbmodel.Notifications(ctx, db, everything, dbmodel.NotificationFilter{}, 10)
		if err != nil || len(list) != 3 {
			t.Fatalf("list: %v %v", list, err)
		}
		if time.Since(list[0].CreatedAt).Abs() > time.Minute {
			t.Fatalf("created at %v", list[0].CreatedAt)
		}
		newest, want := list[0], n.Notification
		want.ID, want.CreatedAt = newest.ID, newest.CreatedAt
		if diff := cmp.Diff(want, newest); diff != "" {
			t.Fatalf("stored (-want +got):\n%s", diff)
		}
		page, err := dbmodel.Notifications(ctx, db, everything, dbmodel.NotificationFilter{Behind: &dbmodel.Position{CreatedAt: list[1].CreatedAt, ID: list[1].ID}}, 10)
		if err != nil || len(page) != 1 || page[0].ID != list[2].ID {
			t.Fatalf("second page: %v %v", page, err)
		}
		for text, hits := range map[string]int{"50%_O": 2, "5%f": 0, "_": 2, `\`: 0, "GRÖßE": 2, "größe": 2} {
			if found, err := dbmodel.Notifications(ctx, db, everything, dbmodel.NotificationFilter{Contains: text}, 10); err != nil || len(found) != hits {
				t.Errorf("containing %q: %d, want %d (%v)", text, len(found), hits, err)
			}
		}
		owner := "me"
		lease, err := dbmodel.TakeTarget(ctx, db, emails[0], owner)
		if err != nil || !lease.Mine {
			t.Fatalf("lease: %+v %v", lease, err)
		}
		if address, err := vault.OpenAddress(rule.Email, lease.Address); err != nil || address != "a@example.com" {
			t.Fatalf("address: %q %v", address, err)
		}
		if other, err := dbmodel.TakeTarget(ctx, db, emails[0], "other"); err != nil || other.Mine {
			t.Fatalf("a second lease: %+v %v", other, err)
		}
		if released, err := dbmodel.ReleaseTarget(ctx, db, emails[0], owner, 0); err != nil || released {
			t.Fatalf("released although asked to look again: %v", err)
		}
		waiting, err := dbmodel.PendingDeliveries(ctx, db, emails[0], 10)
		if err != nil || len(waiting) != 2 || waiting[0].NotificationID != list[2].ID {
			t.Fatalf("waiting: %+v %v", waiting, err)
		}
		ids := []int64{waiting[0].ID, waiting[1].ID}
		set := dbmodel.DeliverySet{TargetID: emails[0], IDs: ids, Digest: true}
		digest, err := dbmodel.WaitingDigestOf(ctx, db, emails[0], 0, 10, 10)
		if err != nil || len(digest.Groups) != 1 || digest.Groups[0].Count != 2 || digest.Products != 1 || len(digest.Worst) != 2 || !cmp.Equal(digest.IDs, ids) {
			t.Fatalf("digest: %+v %v", digest, err)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			if tried, err := dbmodel.MarkTried(ctx, tx, set, owner, "503"); err != nil || len(tried) != 2 || tried[0].Attempts != 1 {
				t.Errorf("tried: %+v", tried)
				return err
			}
			if err := dbmodel.KeepBatch(ctx, tx, set, owner); err != nil {
				return err
			}
			giveUp, err := dbmodel.TargetFailed(ctx, tx, emails[0], owner, time.Hour, time.Hour)
			if giveUp {
				t.Error("given up at once")
			}
			return err
		})
		if again, err := dbmodel.WaitingDigestOf(ctx, db, emails[0], ids[1], 10, 10); err != nil || !cmp.Equal(again.IDs, ids) {
			t.Fatalf("of the digest: %v %v", again, err)
		}
		byNotification, err := dbmodel.DeliveriesOf(ctx, db, everything, []int64{list[0].ID, list[1].ID, list[2].ID})
		if err != nil || len(byNotification[list[0].ID]) != 2 || len(byNotification[list[1].ID]) != 0 {
			t.Fatalf("deliveries: %+v %v", byNotification, err)
		}
		d := byNotification[list[2].ID][0]
		if d.State != dbmodel.Pending || d.Attempts != 1 || d.LastError != "503" || d.NextAttemptAt == nil || time.Until(*d.NextAttemptAt) < 50*time.Minute {
			t.Fatalf("tried delivery: %+v", d)
		}
		if sent, err := dbmodel.MarkSent(ctx, db, set); err != nil || len(sent) != 2 || sent[0].SentAt.IsZero() {
			t.Fatalf("sent: %+v %v", sent, err)
		}
		if err := dbmodel.YieldTarget(ctx, db, emails[0], owner); err != nil {
			t.Fatal(err)
		}
		if _, err := dbmodel.TakeTarget(ctx, db, emails[0], "next"); !errors.Is(err, dbmodel.ErrNotFound) {
			t.Fatalf("leased before it is due: %v", err)
		}
		due, _, err := dbmodel.WaitingTargets(ctx, db, 0, 10)
		if err != nil || !cmp.Equal(due, []int64{emails[1]}) {
			t.Fatalf("due: %v %v", due, err)
		}
		if err := dbmodel.ForgetFailures(ctx, db); err != nil {
			t.Fatal(err)
		}
		if target, err := dbmodel.TargetByID(ctx, db, emails[0]); err != nil || target.FailingSince != nil || target.Failures != 0 {
			t.Fatalf("failures are not forgotten: %+v %v", target, err)
		}
		sent, err := dbmodel.Deliveries(ctx, db, everything, dbmodel.DeliveryFilter{State: dbmodel.Sent, Channel: rule.Email, ProductID: 4}, 10)
		if err != nil || len(sent) != 2 || sent[0].SentAt == nil {
			t.Fatalf("sent: %+v %v", sent, err)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			if err := dbmodel.SaveProduct(ctx, tx, &dbmodel.Product{ID: 4, Name: "P"}); err != nil {
				return err
			}
			return dbmodel.DeleteProduct(ctx, tx, 4)
		})
		if c, err := dbmodel.Count(ctx, db); err != nil || c != (dbmodel.Counts{}) {
			t.Fatalf("left after deleting the product: %+v %v", c, err)
		}
	})
}

// slackTarget is a target that is there.
func slackTarget(t *testing.T, db *dbmodel.DB) (id int64) {
	t.Helper()
	vault := newVault(t, db)
	ids, err := dbmodel.EnsureTargets(t.Context(), db, vault, rule.Slack, []string{"https://hooks.example.com/x"})
	if err != nil {
		t.Fatal(err)
	}
	return ids[0]
}

func TestGiveUp(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		id := slackTarget(t, db)
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			const many = 10_001
			list := make([]dbmodel.NewNotification, many)
			for i := range list {
				list[i] = dbmodel.NewNotification{Notification: dbmodel.Notification{Type: rule.TypeSecurityGate, Name: "P"}, Targets: []int64{id}}
			}
			return dbmodel.InsertNotifications(ctx, tx, list)
		})
		if _, err := dbmodel.TakeTarget(ctx, db, id, "me"); err != nil {
			t.Fatal(err)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error {
			giveUp, err := dbmodel.TargetFailed(ctx, tx, id, "me", time.Hour, 0)
			if !giveUp {
				t.Error("not given up after its time")
			}
			if err != nil {
				return err
			}
			if none, done, err := dbmodel.GiveUpTarget(ctx, tx, id, "other", "gone"); len(none) != 0 || !done || err != nil {
				t.Errorf("given up without a lease: %d %v %v", len(none), done, err)
			}
			some, done, err := dbmodel.GiveUpTarget(ctx, tx, id, "me", "gone")
			if len(some) != 10_000 || done {
				t.Errorf("gave up %d deliveries at first, done: %v", len(some), done)
			}
			if err != nil {
				return err
			}
			some, done, err = dbmodel.GiveUpTarget(ctx, tx, id, "me", "gone")
			if len(some) != 1 || !done {
				t.Errorf("gave up %d more deliveries, done: %v", len(some), done)
			}
			return err
		})
		failed, err := dbmodel.Deliveries(ctx, db, everything, dbmodel.DeliveryFilter{State: dbmodel.Failed}, 20_000)
		if err != nil || len(failed) != 10_001 || failed[0].LastError != "gone" {
			t.Fatalf("%d failed, %v", len(failed), err)
		}
	})
}

// A target does not fail for the time in which nobody tried, because we were down ourselves.
func TestGiveUpAfterOurOwnDowntime(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		id := slackTarget(t, db)
		if _, err := dbmodel.TakeTarget(ctx, db, id, "me"); err != nil {
			t.Fatal(err)
		}
		ago := "now() - interval '%d minutes'"
		if db.Reader != db.DB {
			ago = "CAST(unixepoch('subsec') * 1000000 AS INTEGER) - %d * 60000000"
		}
		for _, c := range []struct {
			due    int // minutes ago
			giveUp bool
		}{{1, true}, {60, false}, {1, true}} {
			set := fmt.Sprintf("UPDATE targets SET failing_since = "+ago+", next_at = "+ago, 25*60, c.due)
			if _, err := db.ExecContext(ctx, set); err != nil {
				t.Fatal(err)
			}
			giveUp, err := dbmodel.TargetFailed(ctx, db, id, "me", time.Second, 24*time.Hour)
			if err != nil || giveUp != c.giveUp {
				t.Errorf("due %d minutes ago: given up %t, %v", c.due, giveUp, err)
			}
		}
	})
}

func TestSettingsAndGroups(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		s, err := dbmodel.LoadSettings(ctx, db)
		if err != nil {
			t.Fatal(err)
		}
		if s.DigestThreshold != 10 || s.DeliveryGiveUpHours != 24 || s.ExceptionRateLimit != 3600 || s.CleanupCron != "0 3 * * *" || len(s.MemberNotificationTypes) != 2 {
			t.Fatalf("defaults: %+v", s)
		}
		s.TitleStatuses, s.TitleMinPriority, s.DigestThreshold = []rule.Status{rule.Open, rule.FalsePositive}, new(4), 0
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.SaveSettings(ctx, tx, s) })
		got, err := dbmodel.LoadSettings(ctx, db)
		if diff := cmp.Diff(s, got); err != nil || diff != "" {
			t.Fatalf("settings (-want +got): %v\n%s", err, diff)
		}
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
		group := &dbmodel.ProductGroup{ID: 1, Name: "G"}
		group.PausedUntil, group.MinSeverity, group.Statuses = &until, rule.Low, []rule.Status{rule.Open}
		product := &dbmodel.Product{ID: 2, Name: "P", ProductGroupID: new(int64(1))}
		product.MinPriority = new(9)
		if err := dbmodel.SaveProductGroup(ctx, db, group); err != nil {
			t.Fatal(err)
		}
		if err := dbmodel.SaveProduct(ctx, db, product); err != nil {
			t.Fatal(err)
		}
		vault := newVault(t, db)
		contacts, err := dbmodel.NewContacts(ctx, db, vault, rule.Email, []string{"a@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		holder := rule.Holder{Kind: rule.HolderProduct, ID: 2}
		for range 2 { // the second time replaces the first
			if err := dbmodel.SetContacts(ctx, db, holder, rule.Email, contacts); err != nil {
				t.Fatal(err)
			}
		}
		contacts[0].Holder = holder
		read, err := dbmodel.ProductGroupByID(ctx, db, 1)
		if err != nil || read.PausedUntil == nil || !read.PausedUntil.Equal(until) {
			t.Fatalf("group: %+v %v", read, err)
		}
		contexts, err := dbmodel.ProductContexts(ctx, db, []int64{2, 3})
		want := map[int64]*dbmodel.ProductContext{2: {
			ID: 2, Name: "P", GroupID: 1, GroupName: "G",
			Product: rule.Settings{Conditions: rule.Conditions{Statuses: []rule.Status{}, MinPriority: new(9)}, Contacts: rule.Contacts{rule.Email: contacts}},
			Group:   &rule.Settings{Conditions: rule.Conditions{MinSeverity: rule.Low, Statuses: []rule.Status{rule.Open}}, Paused: true},
		}}
		if diff := cmp.Diff(want, contexts); err != nil || diff != "" {
			t.Fatalf("contexts (-want +got): %v\n%s", err, diff)
		}
		product.ProductGroupID = new(int64(99))
		if err := dbmodel.SaveProduct(ctx, db, product); !errors.Is(err, dbmodel.ErrConflict) {
			t.Fatalf("a product of no group: %v", err)
		}
		inTx(t, db, func(ctx context.Context, tx bun.Tx) error { return dbmodel.DeleteProductGroup(ctx, tx, 1) })
		if p, err := dbmodel.ProductByID(ctx, db, 2); err != nil || p.ProductGroupID != nil {
			t.Fatalf("the product of a deleted group: %+v %v", p, err)
		}
	})
}

func TestMigrateDownAndUp(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		if err := dbmodel.CheckSchema(ctx, db); err != nil {
			t.Fatal(err)
		}
		if undone, err := dbmodel.Rollback(ctx, db); err != nil || len(undone) == 0 {
			t.Fatalf("down: %v %v", undone, err)
		}
		if err := dbmodel.CheckSchema(ctx, db); err == nil {
			t.Fatal("an empty database passes the check")
		}
		if applied, err := dbmodel.Migrate(ctx, db); err != nil || len(applied) == 0 {
			t.Fatalf("up: %v %v", applied, err)
		}
		list, err := dbmodel.Migrations(ctx, db)
		if err != nil || len(list) == 0 || !list[0].Applied {
			t.Fatalf("status: %v %v", list, err)
		}
	})
}

// TestMigrationIsCutShortAnywhere loses the database before each statement, begin and commit of the way down and of the
// way up: the next try does the rest.
func TestMigrationIsCutShortAnywhere(t *testing.T) {
	t.Parallel()
	errCut := errors.New("cut short")
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		done, may := 0, 0 // statements of a try
		cut := watched(t, db, func(context.Context, string) error {
			if done == may {
				return errCut
			}
			done++
			return nil
		})
		for _, step := range []func() error{
			func() error { _, err := dbmodel.Rollback(t.Context(), cut); return err },
			func() error { _, err := dbmodel.Migrate(t.Context(), cut); return err },
		} {
			for may = 0; ; may++ {
				done = 0
				err := step()
				if err == nil {
					break
				}
				if done < may || !errors.Is(err, errCut) {
					t.Fatalf("after %d of %d statements: %v", done, may, err)
				}
			}
		}
		if err := dbmodel.CheckSchema(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	})
}

func TestVaultRotation(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		ctx := t.Context()
		oldKey, newKey := make([]byte, dbmodel.KeySize), make([]byte, dbmodel.KeySize)
		newKey[0] = 1
		open := func(key, oldKey []byte) *dbmodel.Vault {
			t.Helper()
			v, err := dbmodel.OpenVault(ctx, db, key, oldKey)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		before := open(oldKey, nil)
		if _, err := dbmodel.OpenVault(ctx, db, newKey, nil); !errors.Is(err, dbmodel.ErrSealed) {
			t.Fatalf("opened with the wrong key: %v", err)
		}
		var starting sync.WaitGroup
		for range 8 {
			starting.Go(func() {
				if _, err := dbmodel.OpenVault(ctx, db, newKey, oldKey); err != nil {
					t.Error(err)
				}
			})
		}
		starting.Wait()
		both, after := open(newKey, oldKey), open(newKey, nil)
		if _, err := dbmodel.OpenVault(ctx, db, oldKey, nil); !errors.Is(err, dbmodel.ErrSealed) {
			t.Errorf("the old key still opens: %v", err)
		}
		// before is a process that was not restarted yet.
		const address = "https://example.com/secret"
		for _, seals := range []*dbmodel.Vault{before, both, after} {
			sealed := seals.SealAddress(rule.Slack, address)
			for _, opens := range []*dbmodel.Vault{before, both, after} {
				if got, err := opens.OpenAddress(rule.Slack, sealed); err != nil || got != address {
					t.Errorf("%q %v", got, err)
				}
				if _, err := opens.OpenAddress(rule.MSTeams, sealed); !errors.Is(err, dbmodel.ErrAddressLost) {
					t.Errorf("opened as another channel's: %v", err)
				}
			}
			if !cmp.Equal(before.TargetKey(rule.Slack, "x"), seals.TargetKey(rule.Slack, "x")) {
				t.Error("a new key splits targets in two")
			}
		}
	})
}
