package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	k.oldestDelivery(ctx, db)
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
	var since []string
	for role, a := range dbmodel.AliveByRole(list) {
		since = append(since, role+" since "+a.Since.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	slices.Sort(since)
	k.say(what, strings.Join(words, ", ")+"; "+strings.Join(since, ", "), err)
}

// oldestDelivery says how long the oldest delivery that is due waits. What is paced may wait: it is no fault.
func (k *checker) oldestDelivery(ctx context.Context, db *dbmodel.DB) {
	const what = "Deliveries"
	oldest, err := dbmodel.OldestWork(ctx, db)
	if err == nil && oldest.Delivery > overdueAfter {
		k.warn(what, "the oldest that is due has waited for "+oldest.Delivery.Round(time.Second).String()+
			": see the page Deliveries, and what the worker logs")
		return
	}
	k.say(what, "none that is due has waited for more than a minute", err)
}

// overdueEvents reports a fault where an event has waited for more than a minute.
func (k *checker) overdueEvents(ctx context.Context, db *dbmodel.DB) {
	const what = "Events"
	overdue, err := dbmodel.HasOverdueEvents(ctx, db, overdueAfter)
	if err == nil && overdue {
		oldest, errOldest := dbmodel.OldestWork(ctx, db)
		err = errors.Join(errOldest, fmt.Errorf("at least one has waited for more than a minute to be evaluated, the oldest "+
			"for %s: see whether Redis and a worker run, and what the worker logs", oldest.Event.Round(time.Second)))
	}
	k.say(what, "none has waited for more than a minute to be evaluated", err)
}
