package dbmodel

// Migrations of a test in place of the program's.
var (
	MigrateTo       = migrateTo
	RollBackFrom    = rollBackFrom
	LastMigrationOf = lastMigration
)
