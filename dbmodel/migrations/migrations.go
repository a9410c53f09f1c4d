// Package migrations holds the database schema, a folder for each dialect. Migrations are plain SQL and never use the
// models of today. It does not connect to anything.
package migrations

import "embed"

// Files holds postgres/*.sql and sqlite/*.sql.
//
//go:embed postgres/*.sql sqlite/*.sql
var Files embed.FS
