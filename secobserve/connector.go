package secobserve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/internal/tracing"
	"github.com/seed91453169/tocsin/rule"
)

// Keep says what is not taken from SecObserve, but set in Tocsin.
type Keep struct {
	Contacts   bool // email addresses and webhooks, of products, groups and the settings
	Conditions bool // what must be true of an observation or a title
	Members    bool
	Settings   bool // of the installation
}

// Config is what a Connector needs.
type Config struct {
	DB     *dbmodel.DB
	Vault  *dbmodel.Vault
	Client *Client
	Keep   Keep
	// CheckAddress returns why an address is refused as a contact by a channel. Its error does not repeat the address.
	CheckAddress func(rule.Channel, string) error
	// CheckSender does the same for the sender of mail.
	CheckSender func(string) error
	// Enqueue enqueues the evaluation of what is stored, after the commit; nil: the sweep finds it.
	Enqueue func(ctx context.Context, events []dbmodel.QueueableEvent)
	// Count is called with what was accepted, after the commit; nil: nobody counts.
	Count func(accept.Accepted)
	Log   zerolog.Logger
}

// Connector brings Tocsin in step with SecObserve.
type Connector struct {
	Config

	mu      sync.Mutex
	me      int64 // the user of the token; 0: not known yet
	version string
	edits   bool      // assessments may be approved with edits there
	known   time.Time // when this was asked for

	// What tests change.
	now   func(ctx context.Context) (time.Time, error)
	sizes sizes
	// committed is called with each transaction, before and after its commit; its error ends the pass.
	committed func(after bool) error
}

// sizes are how many rows a page has.
type sizes struct {
	list     int   // users, products, members
	all      int   // observations, where all are read
	newest   []int // observations that changed, one attempt after the other
	approval []int
	gates    []int // changes of gates
	slice    int   // pages of a reading of all observations in one pass
}

// New returns a Connector.
func New(c Config) *Connector {
	return &Connector{
		Config: c,
		now:    func(ctx context.Context) (time.Time, error) { return dbmodel.DatabaseNow(ctx, c.DB) },
		sizes: sizes{
			list: 5_000, all: 1_000, newest: []int{50, 1_000, 5_000}, approval: []int{10, 250, 5_000},
			gates: []int{10, 250, 5_000}, slice: 20,
		},
		committed: func(bool) error { return nil },
	}
}

// accept stores an event in a transaction, and counts it after the commit.
func (c *Connector) accept(ctx context.Context, tx bun.Tx, event *accept.Event) (accept.Accepted, error) {
	done, err := accept.InTx(ctx, tx, event.InTrace(tracing.Parent(ctx)))
	if err == nil && c.Count != nil {
		dbmodel.AfterCommit(ctx, func() { c.Count(done) })
	}
	return done, err
}

// Options are those of one pass.
type Options struct {
	// ConfirmDeletions lets a pass delete more than a tenth at once.
	ConfirmDeletions bool
	// Progress is called with what the pass does; nil: nobody wants to know.
	Progress func(Counts)
}

// Counts say what a pass did.
type Counts struct {
	First        bool // it loaded all observations as a baseline, or a part of them
	Whole        bool // the load is over
	Requests     int64
	Products     int // all there
	Observations int // read
	Changed      int // of these
	Total        int // observations to be read, where all are
	Deleted      int // of any kind
	Refused      int // in all
}

// String is the result in words.
func (c Counts) String() string {
	var parts []string
	if c.First {
		parts = append(parts, map[bool]string{true: "first pass, a baseline", false: "first pass, which goes on"}[c.Whole])
	}
	parts = append(parts, fmt.Sprintf("%d products, %d observations read, %d changed", c.Products, c.Observations,
		c.Changed))
	if c.Deleted > 0 {
		parts = append(parts, fmt.Sprintf("%d deleted", c.Deleted))
	}
	if c.Refused > 0 {
		parts = append(parts, fmt.Sprintf("%d refused", c.Refused))
	}
	return strings.Join(append(parts, fmt.Sprintf("%d requests", c.Requests)), ", ")
}

// Sync runs one pass. All that it stores is stored only as long as run belongs to the caller; the error is
// dbmodel.ErrRunLost where it does no more. A pass that fails reports that itself.
func (c *Connector) Sync(ctx context.Context, run *dbmodel.PeriodicRun, o Options) (Counts, error) {
	p := &pass{Connector: c, run: run, options: o, problems: map[string]string{}, from: c.Client.Requests()}
	err := p.do(ctx)
	p.count()
	if err == nil || ctx.Err() != nil || errors.Is(err, dbmodel.ErrRunLost) || errors.Is(err, dbmodel.ErrUnavailable) {
		return p.counts, err
	}
	return p.counts, errors.Join(err, p.failed(ctx, err))
}

// pass is one pass.
type pass struct {
	*Connector
	run     *dbmodel.PeriodicRun
	options Options
	counts  Counts
	from    int64 // requests that were sent before

	plan *Plan // nil: the pass stores what differs; else it counts it

	state      *dbmodel.SecObserveState
	began      time.Time
	privileged bool // the token sees everything
	there      *remote
	problems   map[string]string // what is reported once, by class
	refused    map[refusal]string
	fresh      []dbmodel.SecObserveRefusal // that were not there before
	users      map[int64]int64             // active ones, by their ids there
	groups     map[int64]string
	products   map[int64]*dbmodel.SecObserveProduct
	gone       []int64                      // observations that were not listed any more
	reached    []*dbmodel.SecObserveProduct // products with observations that are gone: stored once these are deleted
	changed    bool                         // the stamp of a product differs
	gateBase   int64                        // the last change of a gate before the load
	compared   bool                         // the ids of all observations were compared
	listed     int                          // how many these were
	events     []dbmodel.QueueableEvent
}

type refusal struct {
	kind string
	id   int64
}

func (p *pass) count() {
	p.counts.Requests, p.counts.Refused = p.Client.Requests()-p.from, len(p.refused)
}

func (p *pass) progress() {
	if p.options.Progress != nil {
		p.count()
		p.options.Progress(p.counts)
	}
}

// do reads SecObserve and stores what differs. Nothing is stored before all lists but those of observations are read.
func (p *pass) do(ctx context.Context) error {
	if err := p.load(ctx); err != nil {
		return err
	}
	if err := p.knowServer(ctx); err != nil {
		return err
	}
	if err := p.read(ctx); err != nil {
		return err
	}
	p.progress()
	// Until the baseline is remembered nothing else may be evaluated: it would be notified as new.
	if waits, err := dbmodel.HasWaitingEvents(ctx, p.DB, dbmodel.KindBaseline); err != nil {
		return fmt.Errorf("look for events of the baseline: %w", err)
	} else if waits && p.state.Loaded {
		return nil
	}
	steps := []func(context.Context) error{p.storeGroups, p.storeProducts}
	if p.privileged {
		steps = []func(context.Context) error{
			p.storeUsers, p.storeSettings, p.storeGroups, p.storeProducts, p.storeMembers,
		}
	}
	if !p.state.Loaded {
		steps = append(steps, p.loadObservations)
	} else {
		steps = append(steps, p.approvals, p.gates, p.changedProducts, p.today, p.everything, p.compareCount)
	}
	for _, step := range append(steps, p.delete, p.storeReached, p.conclude) {
		if err := step(ctx); err != nil {
			return err
		}
		p.progress()
	}
	return nil
}

// load reads where the last pass ended.
func (p *pass) load(ctx context.Context) (err error) {
	if p.state, err = dbmodel.LoadSecObserve(ctx, p.DB); err != nil {
		return fmt.Errorf("load the state of the connector: %w", err)
	}
	if p.began, err = p.now(ctx); err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	if p.products, err = dbmodel.SecObserveProducts(ctx, p.DB); err != nil {
		return fmt.Errorf("load the products of SecObserve: %w", err)
	}
	if p.groups, err = dbmodel.SecObserveGroups(ctx, p.DB); err != nil {
		return fmt.Errorf("load the product groups of SecObserve: %w", err)
	}
	refused, err := dbmodel.SecObserveRefusals(ctx, p.DB)
	if err != nil {
		return fmt.Errorf("load what was refused: %w", err)
	}
	p.refused = make(map[refusal]string, len(refused))
	for _, r := range refused {
		p.refused[refusal{r.Kind, r.ID}] = r.Reason
	}
	return nil
}

// commit runs a transaction that fails where the run is not the caller's any more, and enqueues what it accepted.
func (p *pass) commit(ctx context.Context, what string, do func(ctx context.Context, tx bun.Tx) error) error {
	p.events = nil
	err := p.DB.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if p.run != nil {
			mine, err := dbmodel.RenewRun(ctx, tx, p.run)
			if err != nil {
				return err
			}
			if !mine {
				return dbmodel.ErrRunLost
			}
		}
		if err := do(ctx, tx); err != nil {
			return err
		}
		return p.committed(false)
	})
	if err != nil {
		return fmt.Errorf("store %s: %w", what, err)
	}
	if p.Enqueue != nil && len(p.events) > 0 {
		p.Enqueue(ctx, p.events)
	}
	return p.committed(true)
}

// refuse stores that something is refused.
func (p *pass) refuse(ctx context.Context, tx bun.Tx, r dbmodel.SecObserveRefusal) error {
	key := refusal{r.Kind, r.ID}
	before, there := p.refused[key]
	if there && before == r.Reason {
		return nil
	}
	if !there {
		p.fresh = append(p.fresh, r)
	}
	p.refused[key] = r.Reason
	return dbmodel.Refuse(ctx, tx, r)
}

// settle stores that something is not refused, or refused with these faults.
func (p *pass) settle(ctx context.Context, tx bun.Tx, r dbmodel.SecObserveRefusal, faults []string) error {
	if len(faults) > 0 {
		r.Reason = strings.Join(slices.Compact(faults), "; ")
		return p.refuse(ctx, tx, r)
	}
	key := refusal{r.Kind, r.ID}
	if _, there := p.refused[key]; !there {
		return nil
	}
	delete(p.refused, key)
	return dbmodel.Unrefuse(ctx, tx, r.Kind, r.ID)
}
