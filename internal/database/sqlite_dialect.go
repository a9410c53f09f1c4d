package database

import (
	"strconv"
	"time"

	"github.com/uptrace/bun/dialect/sqlitedialect"
)

// sqliteDialect is bun's dialect with times as integers, microseconds since 1970: as texts they would not sort. dbmodel
// knows it by its name alone, so that a web tier which imports tasks compiles nothing of SQLite.
type sqliteDialect struct{ *sqlitedialect.Dialect }

func newSQLiteDialect() sqliteDialect { return sqliteDialect{sqlitedialect.New()} }

// AppendTime writes a time as a literal.
func (sqliteDialect) AppendTime(b []byte, t time.Time) []byte {
	return strconv.AppendInt(b, t.UnixMicro(), 10)
}
