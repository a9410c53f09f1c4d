package dbmodel

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// Hash identifies a title in the database.
type Hash = [sha256.Size]byte

// TitleHash is the Hash of a title.
func TitleHash(title string) Hash { return sha256.Sum256([]byte(title)) }

// titleIndex is the part of a title's hash that observations are indexed by.
func titleIndex(title string) int64 {
	h := TitleHash(title)
	return int64(binary.BigEndian.Uint64(h[:8])) // #nosec G115 -- any 64 bits will do
}

const rememberedTitles = `
	SELECT t.hash, t.notified_severity, t.notified_status, t.notified_priority, t.notified_known_exploited
	FROM @titles AS i
	JOIN LATERAL (SELECT * FROM observation_titles AS t WHERE t.hash = i.hash OFFSET 0) AS t ON true`

// RememberedTitles returns the values that are remembered of titles, by hash. It leaves out the titles of which
// nothing is remembered, and locks nothing.
func RememberedTitles(ctx context.Context, db bun.IDB, hashes []Hash) (map[Hash]*rule.Values, error) {
	return titleValues(ctx, db, rememberedTitles, args{"titles": rows{hashCol(hashes)}})
}

const lockTitles = `
	INSERT INTO observation_titles (hash, title) SELECT i.hash, i.title FROM @titles AS i WHERE true ORDER BY i.hash
	ON CONFLICT (hash) DO UPDATE SET title = EXCLUDED.title
	RETURNING hash, notified_severity, notified_status, notified_priority, notified_known_exploited`

// LockTitles is RememberedTitles that stores the titles which are missing, and keeps others from changing or storing
// any of them until the transaction ends.
func LockTitles(ctx context.Context, tx bun.Tx, hashes []Hash, titles []string) (map[Hash]*rule.Values, error) {
	return titleValues(ctx, tx, lockTitles, args{"titles": rows{hashCol(hashes), {"title", "text", titles}}})
}

func titleValues(ctx context.Context, db bun.IDB, statement string, a args) (map[Hash]*rule.Values, error) {
	list, err := queryAll[struct {
		Hash     []byte
		Notified *rule.Values `bun:"embed:notified_"`
	}](ctx, db, statement, a)
	out := make(map[Hash]*rule.Values, len(list))
	for _, t := range list {
		if t.Notified != nil {
			out[Hash(t.Hash)] = t.Notified
		}
	}
	return out, err
}

const rememberTitles = `
	UPDATE observation_titles SET notified_severity = i.severity, notified_status = i.status,
		notified_priority = i.priority, notified_known_exploited = i.known_exploited
	FROM @titles AS i WHERE observation_titles.hash = i.hash`

// RememberTitles stores the values that are remembered of titles that LockTitles has locked; nil forgets.
func RememberTitles(ctx context.Context, tx bun.Tx, hashes []Hash, values []*rule.Values) error {
	_, err := exec(ctx, tx, rememberTitles, args{"titles": append(rows{hashCol(hashes)}, valueCols(values)...)})
	return err
}

// TitleCount says how many observations in how many products bear a title.
type TitleCount struct{ Observations, Products int }

const titleCounts = `
	SELECT o.title, count(*) AS observations, count(DISTINCT o.product_id) AS products FROM @titles AS i
	JOIN LATERAL (SELECT * FROM observations AS o WHERE o.title_hash = i.title_hash OFFSET 0) AS o ON true
	WHERE o.title = i.title AND @live GROUP BY o.title`

// TitleCounts counts the observations that bear titles, by title; titles that none bears are left out.
func TitleCounts(ctx context.Context, db bun.IDB, titles []string) (map[string]TitleCount, error) {
	hashes := make([]int64, len(titles))
	for i, t := range titles {
		hashes[i] = titleIndex(t)
	}
	list, err := queryAll[struct {
		Title string
		TitleCount
	}](ctx, db, titleCounts,
		args{
			"titles": rows{{"title_hash", "bigint", hashes}, {"title", "text", titles}},
			"live":   bun.Safe(liveObservations("o")),
		})
	out := make(map[string]TitleCount, len(list))
	for _, t := range list {
		out[t.Title] = t.TitleCount
	}
	return out, err
}

func hashCol(hashes []Hash) col {
	return column(hashes, "hash", "bytea", func(h *Hash) []byte { return h[:] })
}

const worstOfTitle = `
	SELECT ` + storedColumns + ` FROM observations o WHERE o.title_hash = @hash AND o.title = @title AND @live
	ORDER BY @severity_rank, coalesce(o.priority, @no_priority), o.id LIMIT 1`

// WorstOfTitle returns the worst observation that bears a title, in whatever product: by severity, then priority, then
// the lowest id. It returns ErrNotFound where there is none.
func WorstOfTitle(ctx context.Context, db bun.IDB, title string) (*StoredObservation, error) {
	return storedObservation(ctx, db, worstOfTitle, args{
		"hash": titleIndex(title), "title": title, "no_priority": rule.MaxPriority + 1,
		"live": bun.Safe(liveObservations("o")), "severity_rank": bun.Safe(severityRank("o.severity")),
	})
}

// severityRank is the numeric value of a severity, 1 for the worst.
func severityRank(column string) string {
	var whens strings.Builder
	for _, s := range rule.Severities {
		fmt.Fprintf(&whens, " WHEN '%s' THEN %d", s, s.Rank())
	}
	return fmt.Sprintf("CASE %s%s ELSE %d END", column, whens.String(), rule.SeverityUnknown.Rank())
}
