package secobserve

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
)

const (
	// overlap is how far before the newest stamp changes are read again: an upload shows rows with older stamps when it
	// ends.
	overlap = 15 * time.Minute
	// singly is how many observations are read one by one at the most.
	singly = 50
	// relistings is how often a reading of all observations begins anew because too many went meanwhile.
	relistings = 10
	// todayEvery is how often the changes of today are read.
	todayEvery = 30 * time.Minute
	// mostToday is how many changes of today are read at the most: more are left to the reading of all.
	mostToday = 10_000
	// dailyHour is from which hour on, UTC, all observations are read: SecObserve's nightly updates are over by then.
	dailyHour = 4
)

// store accepts observations in the transaction of the caller. Those of products that Tocsin does not know are passed
// over: they are read with their product.
func (p *pass) store(ctx context.Context, tx bun.Tx, rows []observation) error {
	var list []dbmodel.Observation
	for i := range rows {
		o := &rows[i]
		if p.products[o.Product.V] == nil {
			continue
		}
		item := dbmodel.SecObserveRefusal{Kind: "observation", ID: o.ID.V, Name: o.Title.V}
		converted, err := o.convert()
		if err != nil {
			if err := p.settle(ctx, tx, item, []string{err.Error()}); err != nil {
				return err
			}
			continue
		}
		if err := p.settle(ctx, tx, item, nil); err != nil {
			return err
		}
		list = append(list, converted)
	}
	for chunk := range slices.Chunk(list, accept.MaxObservations) {
		event, err := accept.NewObservations(chunk)
		if err != nil {
			return err
		}
		if !p.state.Loaded {
			event.Baseline()
		}
		done, err := p.accept(ctx, tx, event)
		if err != nil {
			return err
		}
		p.events = append(p.events, done.Rows...)
		p.counts.Changed += done.Changed
	}
	p.counts.Observations += len(rows)
	return nil
}

// ids lists the observations of a query, by id: one page, which SecObserve reads with one statement.
func (p *pass) ids(ctx context.Context, query url.Values) ([]int64, error) {
	const everything = 100_000_000
	rows, _, err := page[title](ctx, p.Client, "observation_titles/", query, 1, everything)
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID.V
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// fetch reads observations one by one; those that are gone are left out.
func (p *pass) fetch(ctx context.Context, ids []int64) (rows []observation, err error) {
	for _, id := range ids {
		o, err := one[observation](ctx, p.Client, "observations/"+strconv.FormatInt(id, 10)+"/")
		if IsKind(err, Missing) {
			continue
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, *o)
	}
	return rows, nil
}

// readAll reads the observations of a query with an id above from, by id, at most a number of pages (0: all), and
// stores each page together with what the function reached stores, which is called with the last id of the page. Rows
// that go meanwhile move others to pages that were read already: whatever the list of ids has and the pages lack is
// read by itself. It reports whether all were read, and returns the ids that it began with.
func (p *pass) readAll(
	ctx context.Context, query url.Values, from int64, pages int,
	reached func(ctx context.Context, tx bun.Tx, to int64) error,
) (whole bool, ids []int64, err error) {
	ordered := url.Values{"ordering": {"id"}}
	maps.Copy(ordered, query)
	for relisted := 0; ; relisted++ {
		if ids, err = p.ids(ctx, query); err != nil {
			return false, nil, err
		}
		if relisted == relistings {
			return false, ids, &Error{
				Kind: Incomplete, Path: "observations/", detail: "observations go as fast as they are read",
			}
		}
		p.counts.Total = len(ids)
		for ; ; pages-- {
			at, _ := slices.BinarySearch(ids, from+1)
			if at == len(ids) {
				return true, ids, nil
			}
			number := at/p.sizes.all + 1
			rows, _, err := page[observation](ctx, p.Client, "observations/", ordered, number, p.sizes.all)
			if IsKind(err, Missing) {
				break // the list is shorter by now
			}
			if err != nil {
				return false, nil, err
			}
			to := ids[min(number*p.sizes.all, len(ids))-1]
			rows, lacking := lack(rows, ids[at:min(number*p.sizes.all, len(ids))])
			if len(lacking) > singly {
				break
			}
			single, err := p.fetch(ctx, lacking)
			if err != nil {
				return false, nil, err
			}
			err = p.commit(ctx, "observations", func(ctx context.Context, tx bun.Tx) error {
				if err := p.store(ctx, tx, append(rows, single...)); err != nil {
					return err
				}
				return reached(ctx, tx, to)
			})
			if err != nil {
				return false, nil, err
			}
			from = to
			p.progress()
			if pages == 1 {
				return false, ids, nil
			}
		}
	}
}

// lack returns the rows, and which of the wanted ids none of them has.
func lack(rows []observation, wanted []int64) ([]observation, []int64) {
	there := make(map[int64]bool, len(rows))
	for i := range rows {
		there[rows[i].ID.V] = true
	}
	var lacking []int64
	for _, id := range wanted {
		if !there[id] {
			lacking = append(lacking, id)
		}
	}
	return rows, lacking
}

// loadObservations is the first load.
func (p *pass) loadObservations(ctx context.Context) error {
	p.counts.First = true
	var from int64
	if p.state.ReadTo != nil {
		from = *p.state.ReadTo
	} else if err := p.beginLoad(ctx); err != nil {
		return err
	}
	_, ids, err := p.readAll(ctx, nil, from, 0, p.saveReadTo)
	if err != nil {
		return err
	}
	if err := p.compareAll(ctx, ids); err != nil {
		return err
	}
	p.state.Loaded, p.state.ReadTo, p.state.ReadBegan, p.state.TodayRead = true, nil, &p.began, &p.began
	p.counts.Whole = true
	return p.saveState(ctx)
}

// beginLoad stores the newest approval: those that follow are read after the load.
func (p *pass) beginLoad(ctx context.Context) error {
	if err := p.skipApprovals(ctx); err != nil {
		return err
	}
	p.state.ReadTo = new(int64(0))
	return p.saveState(ctx)
}

func (p *pass) saveReadTo(ctx context.Context, tx bun.Tx, to int64) error {
	p.state.ReadTo = &to
	return dbmodel.SaveSecObserve(ctx, tx, p.state)
}

func (p *pass) saveState(ctx context.Context) error {
	return p.commit(ctx, "the state of the connector", func(ctx context.Context, tx bun.Tx) error {
		return dbmodel.SaveSecObserve(ctx, tx, p.state)
	})
}

// changedProducts reads the observations of products whose stamp differs. One that vanishes meanwhile is left to the
// next pass.
func (p *pass) changedProducts(ctx context.Context) error {
	for i := range p.there.products {
		r := &p.there.products[i]
		known := p.products[r.ID.V]
		if known == nil || known.LastChange != nil && known.LastChange.Equal(r.LastChange.V) {
			continue
		}
		p.changed = true
		err := p.changedProduct(ctx, r, known)
		if IsKind(err, Unexpected) || IsKind(err, Missing) {
			_, gone := one[product](ctx, p.Client, "products/"+strconv.FormatInt(r.ID.V, 10)+"/")
			if IsKind(gone, Missing) {
				continue
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) changedProduct(ctx context.Context, r *product, known *dbmodel.SecObserveProduct) error {
	query := url.Values{"product": {strconv.FormatInt(r.ID.V, 10)}}
	reached := *known
	reached.LastChange = &r.LastChange.V
	var rows []observation
	var ids []int64
	var err error
	found, count := false, 0
	if known.LastChange != nil && known.Newest != nil {
		after := earlier(*known.Newest, r.LastChange.V).Add(-overlap)
		rows, count, found, err = newest(ctx, p, "observations/", query, "-last_observation_log", p.sizes.newest, after,
			func(o *observation) time.Time { return o.LastLog.V })
		if err != nil {
			return err
		}
	}
	if !found {
		rows = nil
	} else {
		ids, err = p.ids(ctx, query)
	}
	if err == nil && (!found || count != len(ids)) { // rows came or went meanwhile, or one of the answers is not true
		_, ids, err = p.readAll(ctx, query, 0, 0, nothingElse)
		reached.Newest = &r.LastChange.V
	}
	if err != nil {
		return err
	}
	for i := range rows {
		if at := rows[i].LastLog.V; at.After(*reached.Newest) {
			reached.Newest = &at
		}
	}
	before := len(p.gone)
	lacking, err := p.compare(ctx, r.ID.V, ids, rows)
	if err != nil {
		return err
	}
	covered := len(p.gone) == before // else with the deletion of what is gone
	if !covered {
		p.reached = append(p.reached, &reached)
	}
	err = p.commit(ctx, fmt.Sprintf("the observations of product %d", r.ID.V), func(ctx context.Context,
		tx bun.Tx,
	) error {
		if err := p.store(ctx, tx, append(rows, lacking...)); err != nil {
			return err
		}
		if !covered {
			return nil
		}
		return dbmodel.SaveSecObserveProduct(ctx, tx, &reached)
	})
	if err == nil && covered {
		p.products[r.ID.V] = &reached
	}
	return err
}

func nothingElse(context.Context, bun.Tx, int64) error { return nil }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// newest reads the rows of a list that are not older than a time, the newest first, in one page, which SecObserve
// reads with one statement, and counts all rows of the list. It reports false, with the newest of them, where more
// rows are as new as the largest page holds.
func newest[T any, P interface {
	*T
	row
}](ctx context.Context, p *pass, path string, query url.Values, ordering string, pageSizes []int, after time.Time,
	stamp func(P) time.Time,
) (rows []T, count int, found bool, err error) {
	q := url.Values{"ordering": {ordering}}
	maps.Copy(q, query)
	for _, size := range pageSizes {
		rows, count, err = page[T, P](ctx, p.Client, path, q, 1, size)
		if err != nil {
			return nil, 0, false, err
		}
		if count <= size || stamp(P(&rows[len(rows)-1])).Before(after) {
			rows = slices.DeleteFunc(rows, func(r T) bool { return stamp(P(&r)).Before(after) })
			return rows, count, true, nil
		}
	}
	return rows, count, false, nil
}
