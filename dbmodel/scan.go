package dbmodel

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"
)

// rowScanner reads rows into values of one type.
type rowScanner struct {
	into    reflect.Value
	columns []any // the arguments of sql.Rows.Scan: a columnScanner each
}

// columnScanner reads one column of each row into its place: into a field of a struct, or the whole value.
type columnScanner struct {
	rows   *rowScanner
	field  *schema.Field      // nil: the value is no struct
	scan   schema.ScannerFunc // where field is nil
	isTime bool
}

var timeType = reflect.TypeFor[time.Time]()

func newRowScanner(db bun.IDB, typ reflect.Type, found *sql.Rows) (*rowScanner, error) {
	names, err := found.Columns()
	if err != nil {
		return nil, Translate(err)
	}
	rows := &rowScanner{columns: make([]any, len(names))}
	isScanner := reflect.PointerTo(typ).Implements(reflect.TypeFor[sql.Scanner]())
	if typ.Kind() != reflect.Struct || typ == timeType || isScanner {
		if len(names) != 1 {
			return nil, fmt.Errorf("dbmodel: %d columns for a value of %s", len(names), typ)
		}
		isTime := typ == timeType || typ == reflect.PointerTo(timeType)
		rows.columns[0] = &columnScanner{rows: rows, scan: schema.Scanner(typ), isTime: isTime}
		return rows, nil
	}
	table := db.Dialect().Tables().Get(typ)
	for i, name := range names {
		field := table.LookupField(name)
		if field == nil {
			return nil, fmt.Errorf("dbmodel: %s has no field for the column %q", typ, name)
		}
		rows.columns[i] = &columnScanner{rows: rows, field: field, isTime: field.IndirectType == timeType}
	}
	return rows, nil
}

// Scan implements sql.Scanner. SQLite knows no times: an expression of one is a number of microseconds since 1970.
func (c *columnScanner) Scan(src any) error {
	if c.isTime {
		switch v := src.(type) {
		case time.Time:
			src = v.UTC()
		case int64:
			src = time.UnixMicro(v).UTC()
		}
	}
	if c.field != nil {
		return c.field.ScanValue(c.rows.into, src)
	}
	return c.scan(c.rows.into, src)
}

// scanJSON reads a JSON column of either dialect into dest; NULL leaves it as it is.
func scanJSON(src, dest any) error {
	switch v := src.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(v), dest)
	case []byte:
		return json.Unmarshal(v, dest)
	}
	return fmt.Errorf("scan %T as JSON", src)
}
