package dbmodel

import (
	"context"
	"crypto/sha256"
	"database/sql"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Hash addresses a title.
type Hash = [sha256.Size]byte

// RememberedTitles returns what is remembered of titles; those of which nothing is are left out. It locks nothing.
func RememberedTitles(ctx context.Context, db bun.IDB, hashes []Hash) (map[Hash]*rule.Values, error) {
	from, args := rowsFrom(db, "i", 1, hashCol(hashes))
	return titleValues(ctx, db, "SELECT t.hash, t.notified_severity, t.notified_status, t.notified_priority FROM "+from+" "+
		lookUp(db, "JOIN", "observation_titles", "t", "hash = i.hash", ""), args)
}

// LockTitles is RememberedTitles that keeps others from changing them, or from inserting them, until the transaction ends.
func LockTitles(ctx context.Context, tx bun.Tx, hashes []Hash, titles []string) (map[Hash]*rule.Values, error) {
	from, args := rowsFrom(tx, "i", 1, hashCol(hashes), col{"title", "text", titles})
	return titleValues(ctx, tx, `INSERT INTO observation_titles (hash, title) SELECT i.hash, i.title FROM `+from+` WHERE true ORDER BY i.hash
		ON CONFLICT (hash) DO UPDATE SET title = EXCLUDED.title RETURNING hash, notified_severity, notified_status, notified_priority`, args)
}

func titleValues(ctx context.Context, db bun.IDB, query string, args []any) (map[Hash]*rule.Values, error) {
	out := map[Hash]*rule.Values{}
	_, err := collect(ctx, db, func(rows *sql.Rows) (struct{}, error) {
		var hash []byte
		var r remembered
		err := rows.Scan(&hash, &r.severity, &r.status, &r.priority)
		if v := r.values(); err == nil && v != nil {
			out[Hash(hash)] = v
		}
		return struct{}{}, err
	}, query, args...)
	return out, err
}

// RememberTitles stores what is remembered of titles that LockTitles has locked.
func RememberTitles(ctx context.Context, tx bun.Tx, hashes []Hash, values []*rule.Values) error {
	from, args := rowsFrom(tx, "i", 1, append([]col{hashCol(hashes)}, valueCols(values)...)...)
	_, err := execCount(ctx, tx, `UPDATE observation_titles SET notified_severity = i.severity, notified_status = i.status, notified_priority = i.priority
		FROM `+from+` WHERE observation_titles.hash = i.hash`, args...)
	return err
}

// TitleCount says how many observations in how many products bear a title.
type TitleCount struct{ Observations, Products int }

// TitleCounts counts the bearers of titles.
func TitleCounts(ctx context.Context, db bun.IDB, titles []string) (map[string]TitleCount, error) {
	hashes := make([]int64, len(titles))
	for i, t := range titles {
		hashes[i] = titleIndex(t)
	}
	from, args := rowsFrom(db, "i", 1, col{"title_hash", "bigint", hashes}, col{"title", "text", titles})
	out := make(map[string]TitleCount, len(titles))
	_, err := collect(ctx, db, func(rows *sql.Rows) (struct{}, error) {
		var title string
		var c TitleCount
		err := rows.Scan(&title, &c.Observations, &c.Products)
		out[title] = c
		return struct{}{}, err
	}, `SELECT o.title, count(*), count(DISTINCT o.product_id) FROM `+from+`
		`+lookUp(db, "JOIN", "observations", "o", "title_hash = i.title_hash", "")+` WHERE o.title = i.title GROUP BY o.title`, args...)
	return out, err
}

func hashCol(hashes []Hash) col {
	list := make([][]byte, len(hashes))
	for i := range hashes {
		list[i] = hashes[i][:]
	}
	return col{"hash", "bytea", list}
}
