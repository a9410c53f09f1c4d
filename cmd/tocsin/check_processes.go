package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed91453169/tocsin/config"
	"github.com/seed91453169/tocsin/dbmodel"
)

// processes reports which roles run. Where some run but nothing evaluates or sweeps, that is a fault; an installation that is
// stopped as a whole has none.
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
	all := slices.ContainsFunc(roles, func(role string) bool { return role == string(config.Serve) || role == string(config.Demo) })
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
