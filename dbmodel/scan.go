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
	row    *rowScanner
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
	row := &rowScanner{columns: make([]any, len(names))}
	isScanner := reflect.PointerTo(typ).Implements(reflect.TypeFor[sql.Scanner]())
	if typ.Kind() != reflect.Struct || typ == timeType || isScanner {
		if len(names) != 1 {
			return nil, fmt.Errorf("dbmodel: %d columns for a value of %s", len(names), typ)
		}
		isTime := typ == timeType || typ == reflect.PointerTo(timeType)
		row.columns[0] = &columnScanner{row: row, scan: schema.Scanner(typ), isTime: isTime}
		return row, nil
	}
	table := db.Dialect().Tables().Get(typ)
	for i, name := range names {
		field := table.LookupField(name)
		if field == nil {
			return nil, fmt.Errorf("dbmodel: %s has no field for the column %q", typ, name)
		}
		row.columns[i] = &columnScanner{row: row, field: field, isTime: field.IndirectType == timeType}
	}
	return row, nil
}

// Scan implements sql.Scanner. SQLite has no type for times: an expression whose value is a time yields the
// microseconds since 1970.
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
		return c.field.ScanValue(c.row.into, src)
	}
	return c.scan(c.row.into, src)
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
