package worker

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestClockOfRedis: a clock of Redis that is ahead, or a clock of the database that was set back, keeps no later state from being
// stored, and what is passed over is counted.
func TestClockOfRedis(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		e := newEnv(t, db, nil)
		e.product(1, "")
		report := func(at time.Time, gate bool, severity string, passedOver int) {
			t.Helper()
			when := ""
			if !at.IsZero() {
				when = fmt.Sprintf(`,"reported_at":%q`, at.UTC().Format(time.RFC3339Nano))
			}
			for _, p := range []string{
				fmt.Sprintf(`{"kind":"security_gate","id":1,"passed":%v%s}`, gate, when),
				fmt.Sprintf(`{"kind":"observation","observations":[{"id":1,"product_id":1,"title":"CVE","severity":%q,"status":"Open",`+
					`"priority":null,"parser_type":"SCA"}]%s}`, severity, when),
			} {
				done, err := e.acceptor.AcceptPayload(t.Context(), []byte(p))
				if err != nil || done.PassedOver != passedOver {
					t.Errorf("%s: %d passed over, want %d: %v", p, done.PassedOver, passedOver, err)
				}
			}
		}
		stored := func(when, want string) {
			t.Helper()
			o, err := dbmodel.ObservationByID(t.Context(), db, 1)
			if err != nil {
				t.Fatal(err)
			}
			p, err := dbmodel.ProductByID(t.Context(), db, 1)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, fmt.Sprint(*p.SecurityGatePassed, o.Severity)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		now := func() time.Time {
			at, err := dbmodel.DatabaseNow(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		report(now().Add(2*time.Hour), true, "High", 0)
		stored("ahead", "trueHigh")
		report(now(), false, "Low", 0)
		stored("a moment after a clock that was ahead", "falseLow")
		report(now().Add(-time.Hour), true, "High", 1)
		stored("overtaken", "falseLow")
		report(now().Add(-time.Hour), false, "Low", 0) // the same state: nothing is lost
		stored("overtaken by its like", "falseLow")
		e.exec("UPDATE observations SET reported_at = ?", time.Now().Add(time.Hour))
		e.exec("UPDATE products SET security_gate_reported_at = ?", time.Now().Add(time.Hour))
		report(now().Add(-time.Minute), true, "High", 0)
		stored("after the clock of the database was set back", "trueHigh")
		report(now().Add(-time.Hour), false, "Low", 1)
		stored("overtaken after that", "trueHigh")
		report(time.Time{}, false, "Low", 0)
		stored("without a time", "trueHigh")
		e.idle(20 * time.Second)
		if c, err := dbmodel.Count(t.Context(), db); err != nil || c.FailedEvents != 2 {
			t.Errorf("refused: %+v %v", c, err)
		}
	})
}
