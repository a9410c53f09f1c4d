package dbmodel_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
	"github.com/seed91453169/tocsin/rule"
)

// BenchmarkDetails measures the CPU time of this process for a thousand observations: to write the details that have no
// column of their own, and to store observations with and without such details.
func BenchmarkDetails(b *testing.B) {
	list := func(details dbmodel.Details) []dbmodel.Observation {
		out := make([]dbmodel.Observation, 1000)
		for i := range out {
			out[i] = dbmodel.Observation{
				ID: int64(i + 1), ProductID: 1, Title: fmt.Sprintf("CVE-2026-%d", i), Severity: rule.High, Status: rule.Open,
				ParserType: "SCA", Details: details,
			}
		}
		return out
	}
	with := dbmodel.Details{EPSSScore: new(0.5), FixedVersion: "1.2.3", Branch: "main", Service: "api", Scanner: "Trivy 0.66"}
	b.Run("write", func(b *testing.B) {
		rows := list(with)
		perThousand(b, func(int) {
			for i := range rows {
				if dbmodel.DetailsColumn(rows[i].Details) == "" {
					b.Fatal("no details")
				}
			}
		})
	})
	for name, open := range map[string]func(testing.TB) *dbmodel.DB{"postgres": testenv.PostgresDB, "sqlite": testenv.SQLiteDB} {
		for details, rows := range map[string][]dbmodel.Observation{"with": list(with), "without": list(dbmodel.Details{})} {
			b.Run("store/"+name+"/"+details, func(b *testing.B) {
				db := open(b)
				if _, err := db.ExecContext(b.Context(), "INSERT INTO products (id, name) VALUES (1, 'p')"); err != nil {
					b.Fatal(err)
				}
				perThousand(b, func(n int) {
					for i := range rows { // each differs from what is stored
						rows[i].Title = fmt.Sprintf("CVE-2026-%d-%d", i, n)
					}
					acceptRows(b, db, rows)
				})
			})
		}
	}
}

func acceptRows(b *testing.B, db *dbmodel.DB, rows []dbmodel.Observation) {
	b.Helper()
	done, err := dbmodel.AcceptObservations(context.Background(), db, rows, dbmodel.AcceptOptions{})
	if err != nil || done.Changed != len(rows) {
		b.Fatalf("%d changed, want %d: %v", done.Changed, len(rows), err)
	}
}

// perThousand reports the CPU time of this process for one call of run, which is about a thousand rows.
func perThousand(b *testing.B, run func(n int)) {
	b.Helper()
	begin, n := testenv.CPUTime(b), 0
	for b.Loop() {
		n++
		run(n)
	}
	b.ReportMetric(float64((testenv.CPUTime(b)-begin).Microseconds())/float64(n), "cpu-µs/1000rows")
}
