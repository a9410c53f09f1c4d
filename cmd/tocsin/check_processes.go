package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
)

// overdueAfter is how long an event may wait in an installation that runs.
const overdueAfter = time.Minute

// processes reports which roles run, and whether events wait. A missing worker or scheduler is a fault, and so is an
// event that waits for more than a minute; in an installation that is stopped as a whole neither is.
func (k *checker) processes(ctx context.Context, db *dbmodel.DB) {
	const what = "Processes"
	list, err := dbmodel.LiveProcesses(ctx, db)
	if err != nil {
		k.say(what, "", err)
		return
	}
	if len(list) == 0 {
		k.warn(what, "none runs on this database")
		return
	}
	k.overdueEvents(ctx, db)
	count := make(map[string]int)
	var roles, words, missing []string
	for _, p := range list { // sorted by role
		if count[p.Role]++; count[p.Role] == 1 {
			roles = append(roles, p.Role)
		}
	}
	for _, role := range roles {
		words = append(words, fmt.Sprintf("%d %s", count[role], role))
	}
	all := count[string(config.Serve)]+count[string(config.Demo)] > 0 // these run every role
	for _, role := range []config.Role{config.Worker, config.Scheduler} {
		if !all && count[string(role)] == 0 {
			missing = append(missing, "no "+string(role))
		}
	}
	if len(missing) > 0 {
		err = errors.New(strings.Join(missing, " and ") + " runs on this database: events wait until one is started")
	}
	k.say(what, strings.Join(words, ", "), err)
}

// overdueEvents reports a fault where an event has waited for more than a minute.
func (k *checker) overdueEvents(ctx context.Context, db *dbmodel.DB) {
	const what = "Events"
	overdue, err := dbmodel.HasOverdueEvents(ctx, db, overdueAfter)
	if err == nil && overdue {
		err = errors.New("at least one has waited for more than a minute to be evaluated: " +
			"see whether Redis and a worker run, and what the worker logs")
	}
	k.say(what, "none has waited for more than a minute to be evaluated", err)
}
