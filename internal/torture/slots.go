package torture

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// pause pauses a product or a group until the fault ends. One that is paused until the end of the run stays so.
func pause(path string) func(*run, int) func() {
	return func(r *run, n int) func() {
		if path == "products" && r.plan.installation.products[n].Paused {
			return nil
		}
		begun := make(chan struct{})
		r.background.Go(func() {
			defer close(begun)
			setPause(r, path, n, forever)
		})
		return func() {
			r.background.Go(func() {
				<-begun
				setPause(r, path, n, nil)
			})
		}
	}
}

// setPause sets until when a product or group is paused; nil ends that.
func setPause(r *run, path string, n int, until any) {
	r.repeat(0, http.MethodPut, fmt.Sprintf("/api/v1/%s/%d", path, n+1), object{"notification_paused_until": until})
}

// forever is until when something is paused whose end is not known.
const forever = "2099-01-01T00:00:00Z"

// connect calls f with a connection to the database, past the proxy.
func (r *run) connect(f func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	db, err := pgx.Connect(ctx, r.pg.URL())
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(ctx) }()
	return f(ctx, db)
}

func (r *run) sql(statement string) error {
	return r.connect(func(ctx context.Context, db *pgx.Conn) error {
		_, err := db.Exec(ctx, statement)
		return err
	})
}

// count returns the number that a query gives.
func (r *run) count(query string) (n int64, err error) {
	err = r.connect(func(ctx context.Context, db *pgx.Conn) error { return db.QueryRow(ctx, query).Scan(&n) })
	return n, err
}

// logSlots has the database note each slot of a subscription that is made, and each target that gets what a pause held
// back. The transactions of these rows are those of the digests.
func (r *run) logSlots() {
	err := r.sql(`
		CREATE TABLE made_slots (id bigserial, subscription bigint, after bigint, through bigint);
		CREATE FUNCTION note_slot() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO made_slots (subscription, after, through) VALUES (NEW.id, OLD.reported, NEW.reported);
			RETURN NULL;
		END $$;
		CREATE TRIGGER note_slot AFTER UPDATE ON subscriptions FOR EACH ROW
			WHEN (OLD.last_slot_at IS DISTINCT FROM NEW.last_slot_at) EXECUTE FUNCTION note_slot();
		CREATE TABLE made_pauses (pause bigint, target bigint);
		CREATE FUNCTION note_pause() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO made_pauses (pause, target) VALUES (NEW.ended_pause_id, NEW.target_id);
			RETURN NULL;
		END $$;
		CREATE TRIGGER note_pause AFTER INSERT ON ended_pause_targets FOR EACH ROW EXECUTE FUNCTION note_pause();
		CREATE TABLE all_pauses (pause bigint, products jsonb, through bigint);
		CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO all_pauses (pause, products, through) VALUES (OLD.id, OLD.products, OLD.through);
			RETURN NULL;
		END $$;
		CREATE TRIGGER note_end AFTER DELETE ON ended_pauses FOR EACH ROW EXECUTE FUNCTION note_end()`)
	if err != nil {
		r.t.Fatalf("note slots: %v", err)
	}
}

// slotsCome has the slots of all schedules come, as soon as the database answers.
func (r *run) slotsCome() {
	const come = `UPDATE subscriptions SET next_slot_at = clock_timestamp() WHERE next_slot_at > clock_timestamp()`
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) { //nolint:forbidigo // poll
		err := r.sql(come)
		if err == nil {
			return
		}
		if time.Since(began) > giveUpTime {
			r.t.Errorf("have the slots come: %v", err)
			return
		}
	}
}
