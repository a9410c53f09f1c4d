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
	k.oldest(ctx, db)
	alive := dbmodel.AliveByRole(list)
	var words, since, missing []string
	for _, role := range slices.Sorted(slices.Values(dbmodel.ProcessRoles)) {
		if a := alive[role]; a.Processes > 0 {
			words = append(words, fmt.Sprintf("%d %s", a.Processes, role))
			since = append(since, role+" since "+a.Since.UTC().Format("2006-01-02 15:04:05 UTC"))
		}
	}
	for _, role := range []config.Role{config.Worker, config.Scheduler} {
		if alive[string(role)].Processes == 0 {
			missing = append(missing, "no "+string(role))
		}
	}
	if len(missing) > 0 {
		err = errors.New(strings.Join(missing, " and ") + " runs on this database: events wait until one is started")
	}
	k.say(what, strings.Join(words, ", ")+"; "+strings.Join(since, ", "), err)
}

// oldest says how long the oldest event and the oldest delivery that are due wait. A delivery that waits is no fault:
// its channel may be paced.
func (k *checker) oldest(ctx context.Context, db *dbmodel.DB) {
	const events, deliveries = "Events", "Deliveries"
	oldest, err := dbmodel.OldestWork(ctx, db)
	if err != nil {
		k.say(events, "", err)
		return
	}
	if oldest.Event > overdueAfter {
		err = fmt.Errorf("at least one has waited for more than a minute to be evaluated, the oldest for %s: see whether "+
			"Redis and a worker run, and what the worker logs", oldest.Event.Round(time.Second))
	}
	k.say(events, "none has waited for more than a minute to be evaluated", err)
	if oldest.Delivery > overdueAfter {
		k.warn(deliveries, "the oldest that is due has waited for "+oldest.Delivery.Round(time.Second).String()+
			": see the page Deliveries, and what the worker logs")
		return
	}
	k.say(deliveries, "none that is due has waited for more than a minute", nil)
}
