package dbmodel

import (
	"fmt"
	"reflect"
	"regexp"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

// This file holds the expressions and parts of statements that differ between PostgreSQL and SQLite. Where a statement
// differs as a whole, the function that runs it asks isSQLite. Arguments differ in expansion.

// byKey is the part of a join that looks up rows by key: its groups are the table and the condition.
const byKey = `\(SELECT \* FROM (\w+ AS \w+)\s+WHERE ([^()]+) OFFSET 0[^()]*\) AS \w+ ON true`

// sqliteForms are the parts of a statement for PostgreSQL that SQLite writes in another way, or has no use for: it has
// one writer, so that nothing is locked, compares texts byte for byte, and has no types to cast to.
var sqliteForms = []struct {
	postgres *regexp.Regexp
	sqlite   string
}{
	// Milliseconds, and whole days, between two times.
	{regexp.MustCompile(`\(extract\(epoch FROM (clock_timestamp\(\) - \w+)\) \* 1000\)`), "(($1) / 1000)"},
	{regexp.MustCompile(`floor\(date_part\('epoch', ([^()]+)\) / 86400\)`), "(($1) / 86400000000)"},
	{regexp.MustCompile(`clock_timestamp\(\)`), "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"},
	{regexp.MustCompile(`pg_column_size\(`), "length("},
	{regexp.MustCompile(`= ANY \((@[a-z_]+)\)`), "IN (SELECT value FROM json_each($1))"},
	// A join that looks up the rows of a table by key for each row on its left, in the order of these. OFFSET 0 and CROSS
	// JOIN forbid to read the whole table instead, whatever the database believes about its size.
	{regexp.MustCompile(`LEFT JOIN LATERAL ` + byKey), "LEFT JOIN $1 ON $2"},
	{regexp.MustCompile(`JOIN LATERAL ` + byKey), "CROSS JOIN $1 ON $2"},
	{regexp.MustCompile(`\sFOR (NO KEY UPDATE|UPDATE|KEY SHARE|SHARE)( OF \w+)?( SKIP LOCKED)?`), ""},
	{regexp.MustCompile(`::[a-z]+(\[\])?`), ""},
	{regexp.MustCompile(` COLLATE "C"`), ""},
}

// indexHint is the one part that only SQLite has a use for: it keeps no statistics here, and takes any index for as
// good as another.
var indexHint = regexp.MustCompile(` INDEXED BY \w+`)

// dialectText is a statement in the words of one dialect.
func dialectText(statement string, sqlite bool) string {
	if !sqlite {
		return indexHint.ReplaceAllString(statement, "")
	}
	for _, form := range sqliteForms {
		statement = form.postgres.ReplaceAllString(statement, form.sqlite)
	}
	return statement
}

func isSQLite(db bun.IDB) bool { return db.Dialect().Name() == dialect.SQLite }

// now is the database's clock as an expression; unlike PostgreSQL's now() it moves within a transaction.
func now(db bun.IDB) string { return dialectText("clock_timestamp()", isSQLite(db)) }

// FoldFunction is a function of SQL that a connection to SQLite must have: text in upper case by the rules of Unicode
// for no language in particular, where ß is SS, ς and σ are Σ, and İ is not i. SQLite's own functions know ASCII only.
const FoldFunction = "tocsin_fold"

// folded is an expression of text in the form in which it is compared without case, see FoldFunction; it sorts byte
// for byte. PostgreSQL's functions follow the locale of the database, which may know ASCII only, unless they are given
// a collation.
func folded(db bun.IDB, text string) string {
	if isSQLite(db) {
		return FoldFunction + "(" + text + ")"
	}
	return `(upper((` + text + `)::text COLLATE "und-x-icu") COLLATE "C")`
}

// insensitive is the condition that text is LIKE the pattern at placeholder, without case; \ escapes % and _ in the
// pattern.
func insensitive(db bun.IDB, text, placeholder string) string {
	return folded(db, text) + " LIKE " + folded(db, placeholder) + ` ESCAPE '\'`
}

// among is a condition that expr is one of the values of a query, which runs once and before anything else: PostgreSQL
// then looks these values up in an index instead of guessing how many rows a join would leave.
func among(db bun.IDB, expr, query string) string {
	if isSQLite(db) {
		return expr + " IN (" + query + ")"
	}
	return expr + " = ANY (ARRAY(" + query + "))"
}

// indexed follows a table and names the index to be used, see indexHint; an empty name is none.
func indexed(db bun.IDB, index string) string {
	if isSQLite(db) && index != "" {
		return " INDEXED BY " + index
	}
	return ""
}

// arrayArg is a slice as an argument of PostgreSQL. pgx, which Tocsin itself uses, takes slices as they are; other
// drivers get the text form of an array, which every one of them passes on:
// https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO.
func arrayArg(db bun.IDB, slice any) any {
	if _, foreign := db.(*ForeignTx); !foreign {
		return slice
	}
	v := reflect.ValueOf(slice)
	b := []byte{'{'}
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		e := v.Index(i)
		if e.Kind() == reflect.Pointer {
			if e.IsNil() {
				b = append(b, "NULL"...)
				continue
			}
			e = e.Elem()
		}
		if e.Kind() != reflect.String {
			b = fmt.Append(b, e.Interface())
			continue
		}
		b = append(b, '"')
		for _, c := range []byte(e.String()) {
			if c == '"' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, c)
		}
		b = append(b, '"')
	}
	return string(append(b, '}'))
}

// elementsOf is a query of the texts in a JSON list, a column of a table with one row.
func elementsOf(db bun.IDB, table, column string) string {
	if isSQLite(db) {
		return fmt.Sprintf("SELECT value FROM %s, json_each(%s.%s)", table, table, column)
	}
	return fmt.Sprintf("SELECT jsonb_array_elements_text(%s) FROM %s", column, table)
}

// byteOrder is a text that is compared byte for byte, as Go and SQLite do, whatever the locale of the database.
func byteOrder(db bun.IDB, text string) string {
	if isSQLite(db) {
		return text
	}
	return text + ` COLLATE "C"`
}

// locked makes a model's SELECT keep its rows from being changed by others.
func locked(q *bun.SelectQuery) *bun.SelectQuery {
	if isSQLite(q.DB()) {
		return q
	}
	return q.For("NO KEY UPDATE")
}

// timeArg is a time as an argument of a statement below bun.
func timeArg(db bun.IDB, t time.Time) any {
	if isSQLite(db) {
		return t.UnixMicro()
	}
	return t
}
