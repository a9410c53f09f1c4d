package torture

import "github.com/seed91453169/tocsin/internal/testenv"

// faultKind is a kind of fault, or of change of the deployment.
type faultKind struct {
	thing       string                           // the thing that fails; it has one fault at a time
	of          int                              // the number of such things, 0: one
	least, most int                              // accepted calls until it ends
	long        bool                             // only in a long run
	copies      bool                             // deliveries under way may arrive twice
	begin       func(r *run, n int) (end func()) // a nil end: the fault is over
}

// faultKinds are all faults beside the manners of the receivers. A plan depends on the order of their names.
var faultKinds = map[string]faultKind{
	"redis dies":            {thing: "redis", most: 150, begin: redisDies},
	"redis is emptied":      {thing: "redis", begin: redisIsEmptied},
	"redis stands still":    {thing: "redis", least: 50, most: 300, begin: redisStandsStill},
	"redis is full":         {thing: "redis", least: 50, most: 300, begin: redisIsFull},
	"redis is cut off":      {thing: "redis", begin: redisIsCutOff},
	"redis forgets clients": {thing: "redis", begin: redisForgetsClients},
	"redis is unreachable":  {thing: "redis", least: 50, most: 300, begin: redisIsUnreachable},

	"postgres restarts":      {thing: "postgres", copies: true, begin: restart(testenv.Fast)},
	"postgres crashes":       {thing: "postgres", copies: true, begin: restart(testenv.Immediate)},
	"postgres is killed":     {thing: "postgres", copies: true, begin: postgresIsKilled},
	"postgres ends sessions": {thing: "postgres", copies: true, begin: postgresEndsSessions},
	"postgres is cut off":    {thing: "postgres", copies: true, begin: postgresIsCutOff},
	"postgres is unreachable": {
		thing: "postgres", least: 1, most: 50, copies: true,
		begin: postgresIsUnreachable,
	},
	"postgres is read-only": {thing: "postgres", least: 1, most: 50, begin: postgresIsReadOnly},

	"web is killed":       {thing: "web", of: 2, most: 60, begin: kill("web")},
	"worker is killed":    {thing: "worker", of: 2, most: 200, copies: true, begin: kill("worker")},
	"scheduler is killed": {thing: "scheduler", of: 2, most: 200, begin: kill("scheduler")},
	"web stands still":    {thing: "web", of: 2, least: 30, most: 200, begin: freeze("web")},
	"worker stands still": {
		thing: "worker", of: 2, least: 50, most: 300, copies: true,
		begin: freeze("worker"),
	},
	"scheduler stands still": {thing: "scheduler", of: 2, least: 50, most: 600, begin: freeze("scheduler")},
	"worker stands still long": {
		thing: "worker", of: 2, least: 4000, most: 6000, long: true, copies: true,
		begin: freeze("worker"),
	},
	"all workers stand still": {
		thing: "workers", least: 1500, most: 3000, long: true, copies: true,
		begin: freezeWorkers,
	},
	"web is terminated":         {thing: "web", of: 2, begin: terminate("web")},
	"worker is terminated":      {thing: "worker", of: 2, begin: terminate("worker")},
	"scheduler is terminated":   {thing: "scheduler", of: 2, begin: terminate("scheduler")},
	"web of next version":       {thing: "web", of: 2, least: 20, most: 200, begin: deploy("web")},
	"worker of next version":    {thing: "worker", of: 2, least: 20, most: 300, begin: deploy("worker")},
	"scheduler of next version": {thing: "scheduler", of: 2, least: 20, most: 300, begin: deploy("scheduler")},
	"web with another clock": {
		thing: "web", of: 2, least: 200, most: 800, long: true,
		begin: otherClock("web"),
	},
	"worker with another clock": {
		thing: "worker", of: 2, least: 200, most: 800, long: true,
		begin: otherClock("worker"),
	},
	"scheduler with other clock": {
		thing: "scheduler", of: 2, least: 200, most: 800, long: true,
		begin: otherClock("scheduler"),
	},

	"product is paused": {
		thing: "product", of: producers * productsEach, least: 200, most: 700,
		begin: pause("products"),
	},
	"another product is paused": {
		thing: "product", of: producers * productsEach, least: 200, most: 700,
		begin: pause("products"),
	},
	"group is paused": {thing: "group", of: 3, least: 100, most: 400, begin: pause("product-groups")},

	"digests are from 3 on":  {thing: "settings", least: 50, most: 200, begin: digests(3)},
	"digests are from 10 on": {thing: "settings", least: 50, most: 200, begin: digests(10)},
}
