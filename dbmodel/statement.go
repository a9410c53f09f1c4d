package dbmodel

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"
)

// args are the arguments of a statement: each @name in its text stands for the value of that name.
//
//   - Numbers, texts, booleans, bytes and pointers to them are passed as they are. A number is compared with its column
//     before it is compared with 0: PostgreSQL takes the type of an argument from its first use, and 0 is an integer.
//   - time.Time and time.Duration are compared with and added to times of the database.
//   - rows is a table: FROM @rows AS i.
//   - numbers and texts are lists: id = ANY (@ids).
//   - bun.Safe is a part of the statement that Go chooses, such as the condition that a Viewer sees a row.
type args map[string]any

// numbers is a list of numbers as an argument: id = ANY (@ids).
type numbers []int64

// texts is a list of texts as an argument: type = ANY (@types).
type texts []string

// textsOf are texts of any type.
func textsOf[T ~string](list []T) texts {
	out := make(texts, len(list))
	for i, t := range list {
		out[i] = string(t)
	}
	return out
}

// rows is a set of rows as an argument, all columns of the same length. They keep their order in the column ord, from
// 1. PostgreSQL gets an array for each column, SQLite one JSON text.
type rows []col

// col is a column of rows.
type col struct {
	name, pgType string
	values       any // a slice
}

// column makes a column with one value for each element of list.
func column[T, V any](list []T, name, pgType string, value func(*T) V) col {
	values := make([]V, len(list))
	for i := range list {
		values[i] = value(&list[i])
	}
	return col{name, pgType, values}
}

// exec runs a statement and returns how many rows it changed.
func exec(ctx context.Context, db bun.IDB, statement string, a args) (int64, error) {
	query, values, err := expand(db, statement, a)
	if err != nil {
		return 0, err
	}
	res, err := raw(db).ExecContext(ctx, query, values...)
	if err != nil {
		return 0, Translate(err)
	}
	n, err := res.RowsAffected()
	return n, Translate(err)
}

// execOne is exec for a statement about one row. It returns ErrNotFound where that row does not exist.
func execOne(ctx context.Context, db bun.IDB, statement string, a args) error {
	n, err := exec(ctx, db, statement, a)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// queryAll runs a statement and returns its rows. A struct takes each column in the field of its name, by the rules of
// bun's models, and every column must have one; any other type takes the only column. NULL is the zero value.
func queryAll[T any](ctx context.Context, db bun.IDB, statement string, a args) (out []T, err error) {
	err = queryEach(ctx, db, statement, a, func(v *T) bool {
		out = append(out, *v)
		return true
	})
	return out, err
}

// queryOne is queryAll for a statement that returns one row. It returns ErrNotFound where there is none.
func queryOne[T any](ctx context.Context, db bun.IDB, statement string, a args) (v T, err error) {
	list, err := queryAll[T](ctx, db, statement, a)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return v, err
	}
	return list[0], nil
}

// queryEach is queryAll that calls yield for one row after the other, until yield returns false. The connection is in
// use until then: yield must not ask the database for anything.
func queryEach[T any](ctx context.Context, db bun.IDB, statement string, a args, yield func(*T) bool) (err error) {
	text, values, err := expand(db, statement, a)
	if err != nil {
		return err
	}
	found, err := raw(db).QueryContext(ctx, text, values...)
	if err != nil {
		return Translate(err)
	}
	// A statement outside of a transaction is committed behind its last row: Close returns the error of that commit.
	defer func() { err = cmp.Or(err, Translate(found.Close())) }()
	row, err := newRowScanner(db, reflect.TypeFor[T](), found)
	if err != nil {
		return err
	}
	for found.Next() {
		var v T
		row.into = reflect.ValueOf(&v).Elem()
		if err := found.Scan(row.columns...); err != nil {
			return Translate(err)
		}
		if !yield(&v) {
			break
		}
	}
	return Translate(found.Err())
}

// expand returns the text of a statement for the database, and the values of its placeholders $1, $2, ….
func expand(db bun.IDB, statement string, a args) (string, []any, error) {
	e := expansion{db: db, sqlite: isSQLite(db), byName: make(map[string]string, len(a))}
	var b strings.Builder
	for i, part := range partsOf(statement, e.sqlite) {
		if i%2 == 0 {
			b.WriteString(part)
			continue
		}
		text, known := e.byName[part]
		if !known {
			value, given := a[part]
			if !given {
				return "", nil, fmt.Errorf("dbmodel: no argument @%s", part)
			}
			text = e.text(value)
			e.byName[part] = text
		}
		b.WriteString(text)
	}
	for name := range a {
		if _, used := e.byName[name]; !used {
			return "", nil, fmt.Errorf("dbmodel: argument @%s is not in the statement", name)
		}
	}
	return b.String(), e.values, nil
}

// compose returns a part of a statement, or a query within one. Its arguments must be of type bun.Safe.
func compose(db bun.IDB, statement string, a args) string {
	text, values, err := expand(db, statement, a)
	if err != nil || len(values) > 0 {
		panic(fmt.Sprintf("dbmodel: compose: %d values, %v", len(values), err))
	}
	return text
}

// expansion replaces the arguments of one statement.
type expansion struct {
	db     bun.IDB
	sqlite bool
	byName map[string]string // the text that stands for each argument
	values []any
}

// placeholder stands for one more value.
func (e *expansion) placeholder(value any) string {
	e.values = append(e.values, value)
	return fmt.Sprintf("$%d", len(e.values))
}

func (e *expansion) text(value any) string {
	switch v := value.(type) {
	case bun.Safe:
		return string(v)
	case rows:
		return e.table(v)
	case numbers:
		return e.list(append([]int64{}, v...), "bigint")
	case texts:
		return e.list(append([]string{}, v...), "text")
	case time.Time:
		return e.placeholder(timeArg(e.db, v))
	case *time.Time:
		if v == nil {
			return e.placeholder(nil)
		}
		return e.text(*v)
	case time.Duration:
		if e.sqlite {
			return e.placeholder(v.Microseconds())
		}
		return "(" + e.placeholder(v.Microseconds()) + "::bigint * interval '1 microsecond')"
	}
	return e.placeholder(value)
}

// list is a slice: an array for PostgreSQL, a JSON text for SQLite.
func (e *expansion) list(slice any, pgType string) string {
	if e.sqlite {
		return e.placeholder(jsonArg(slice))
	}
	return e.placeholder(arrayArg(e.db, slice)) + "::" + pgType + "[]"
}

// table is a FROM item without its alias. Functions in a SELECT list return their rows in step; in FROM PostgreSQL
// would store the rows of each column before it reads the first.
func (e *expansion) table(r rows) string {
	if e.sqlite {
		return r.fromJSON(e.placeholder(r.json()))
	}
	parts := make([]string, len(r))
	for i, c := range r {
		parts[i] = "unnest(" + e.placeholder(arrayArg(e.db, c.values)) + "::" + c.pgType + "[]) AS " + c.name
	}
	first := fmt.Sprintf("$%d::%s[]", len(e.values)-len(r)+1, r[0].pgType)
	return "(SELECT " + strings.Join(parts, ", ") + ", generate_subscripts(" + first + ", 1)::bigint AS ord)"
}

// fromJSON is a FROM item of SQLite without its alias: the rows that the argument at placeholder holds, see json.
// LIMIT makes SQLite build the text of each row once, instead of once for each column.
func (r rows) fromJSON(placeholder string) string {
	parts := make([]string, len(r))
	for i, c := range r {
		parts[i] = fmt.Sprintf("value ->> %d AS %s", i, c.name)
		if c.pgType == "bytea" {
			parts[i] = fmt.Sprintf("unhex(value ->> %d) AS %s", i, c.name)
		}
	}
	return "(SELECT " + strings.Join(parts, ", ") + ", key + 1 AS ord FROM (SELECT key, value FROM json_each(" +
		placeholder + ") LIMIT -1))"
}

// json is a JSON list of the rows, each a list of its values, bytes in hex.
func (r rows) json() string {
	cells := make([]func(text []byte, row int) []byte, len(r))
	for i, c := range r {
		cells[i] = cellsOf(c.values)
	}
	text := []byte{'['}
	for row := range reflect.ValueOf(r[0].values).Len() {
		if row > 0 {
			text = append(text, ',')
		}
		for i, cell := range cells {
			if i == 0 {
				text = append(text, '[')
			} else {
				text = append(text, ',')
			}
			text = cell(text, row)
		}
		text = append(text, ']')
	}
	return string(append(text, ']'))
}

// cellsOf returns a function that appends one of values, a slice, as JSON. An import has a million of them: the
// frequent types go without reflection.
func cellsOf(values any) func(text []byte, row int) []byte {
	switch list := values.(type) {
	case []int64:
		return func(text []byte, row int) []byte { return strconv.AppendInt(text, list[row], 10) }
	case []string:
		return func(text []byte, row int) []byte { return appendText(text, list[row]) }
	case [][]byte:
		return func(text []byte, row int) []byte { return append(hex.AppendEncode(append(text, '"'), list[row]), '"') }
	}
	list := reflect.ValueOf(values)
	return func(text []byte, row int) []byte {
		v := list.Index(row)
		if v.Kind() == reflect.Pointer && v.IsNil() {
			return append(text, "null"...)
		}
		return append(text, jsonArg(v.Interface())...)
	}
}

// appendText appends s as JSON.
func appendText(text []byte, s string) []byte {
	out := append(text, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return append(text, jsonArg(s)...)
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

// jsonArg is an argument as JSON.
func jsonArg(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("dbmodel: argument: %v", err)) // numbers, texts and bytes only
	}
	return string(text)
}

// argument is the name of an argument in a statement.
var argument = regexp.MustCompile(`@[a-z_]+`)

// parsed holds the parts of the statements of each dialect. Statements are constants, so it does not grow for ever.
var parsed sync.Map

type parsedKey struct {
	statement string
	sqlite    bool
}

// partsOf splits a statement into text and, in between, the names of its arguments.
func partsOf(statement string, sqlite bool) []string {
	key := parsedKey{statement, sqlite}
	if parts, ok := parsed.Load(key); ok {
		return parts.([]string)
	}
	text, begin := dialectText(statement, sqlite), 0
	var parts []string
	for _, at := range argument.FindAllStringIndex(text, -1) {
		parts = append(parts, text[begin:at[0]], text[at[0]+1:at[1]])
		begin = at[1]
	}
	parts = append(parts, text[begin:])
	parsed.Store(key, parts)
	return parts
}
