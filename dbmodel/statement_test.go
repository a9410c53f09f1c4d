package dbmodel_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/testenv"
)

// TestStatement: the same statement means the same in both databases, and its rows are read by the names of their columns.
func TestStatement(t *testing.T) {
	t.Parallel()
	testenv.EachDatabase(t, func(t *testing.T, db *dbmodel.DB) {
		type part struct{ Word string }
		type row struct {
			part
			ID       int64
			Raw      []byte
			Score    *float64
			On       bool
			Until    time.Time
			Never    *time.Time
			Statuses []string
		}
		at, score := time.Date(2026, 5, 6, 7, 8, 9, 123_000, time.UTC), 1.5
		table := dbmodel.Rows{
			dbmodel.NewCol("id", "bigint", []int64{3, 1, 2}),
			dbmodel.NewCol("word", "text", []string{"three", "one", "two \"zwölf\"\\\n<&>"}),
			dbmodel.NewCol("raw", "bytea", [][]byte{{0xff, 3}, {1}, {2}}),
			dbmodel.NewCol("score", "double precision", []*float64{&score, &score, nil}),
			dbmodel.NewCol("stays", "boolean", []bool{true, false, true}),
		}
		got, err := dbmodel.QueryAll[row](t.Context(), db, `SELECT i.stays AS "on", CASE WHEN i.id > 0 THEN @at::timestamptz + @wait END AS until,
				NULL AS never, i.id, coalesce(NULL, i.word) AS word, i.raw, i.score, '["Open"]'::jsonb AS statuses
			FROM @table AS i WHERE i.id = ANY (@wanted) AND @visible AND i.score IS DISTINCT FROM 7 AND i.word COLLATE "C" >= 'o'
			ORDER BY i.ord`,
			dbmodel.Args{
				"at": at, "wait": time.Minute, "table": table, "wanted": dbmodel.Numbers{2, 3, 4}, "visible": bun.Safe("TRUE"),
			})
		if err != nil {
			t.Fatal(err)
		}
		want := []row{
			{part{"three"}, 3, []byte{0xff, 3}, &score, true, at.Add(time.Minute), nil, []string{"Open"}},
			{part{"two \"zwölf\"\\\n<&>"}, 2, []byte{2}, nil, true, at.Add(time.Minute), nil, []string{"Open"}},
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(row{}, part{})); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		numbers, err := dbmodel.QueryAll[int64](t.Context(), db, "SELECT i.id FROM @table AS i WHERE i.id = ANY (@none)",
			dbmodel.Args{"table": table, "none": dbmodel.Numbers(nil)})
		if err != nil || len(numbers) > 0 {
			t.Errorf("numbers of an empty list: %v, %v", numbers, err)
		}
		for statement, a := range map[string]dbmodel.Args{
			"SELECT @id":                {},
			"SELECT 1":                  {"id": 1},
			"SELECT 1 AS id, 2 AS more": {},
		} {
			if _, err := dbmodel.QueryAll[row](t.Context(), db, statement, a); err == nil || !strings.Contains(err.Error(), "dbmodel: ") {
				t.Errorf("%s: %v", statement, err)
			}
		}
	})
}
