package secobserve

import (
	"context"
	"fmt"
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
		done, err := accept.InTx(ctx, tx, event)
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
// that go meanwhile move others to pages that were read already: whatever the list of ids has and the pages lack is read
// by itself. It reports whether all were read, and returns the ids that it began with.
func (p *pass) readAll(
	ctx context.Context, query url.Values, from int64, pages int, reached func(ctx context.Context, tx bun.Tx, to int64) error,
) (whole bool, ids []int64, err error) {
	ordered := url.Values{"ordering": {"id"}}
	for k, v := range query {
		ordered[k] = v
	}
	for relisted := 0; ; relisted++ {
		if ids, err = p.ids(ctx, query); err != nil {
			return false, nil, err
		}
		if relisted == relistings {
			return false, ids, &Error{Kind: Incomplete, Path: "observations/", detail: "observations go as fast as they are read"}
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
	rows, _, err := page[approval](ctx, p.Client, "observation_logs/", approvedNewestFirst, 1, 1)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		p.state.Approvals = &rows[0].Approved.V
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
	if found {
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
	err = p.commit(ctx, fmt.Sprintf("the observations of product %d", r.ID.V), func(ctx context.Context, tx bun.Tx) error {
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

// newest reads the rows of a list that are not older than a time, the newest first, in one page, which SecObserve reads
// with one statement, and counts all rows of the list. It reports false where more rows are as new as the largest page holds.
func newest[T any, P interface {
	*T
	row
}](ctx context.Context, p *pass, path string, query url.Values, ordering string, pageSizes []int, after time.Time,
	stamp func(P) time.Time,
) (rows []T, count int, found bool, err error) {
	q := url.Values{"ordering": {ordering}}
	for k, v := range query {
		q[k] = v
	}
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
	return nil, count, false, nil
}

var approvedNewestFirst = url.Values{"assessment_status": {"Approved"}, "ordering": {"-approval_date"}}

// approvals reads the observations of assessments that were approved: no stamp of theirs moves.
func (p *pass) approvals(ctx context.Context) error {
	var after time.Time
	if p.state.Approvals != nil {
		after = p.state.Approvals.Add(-overlap)
	}
	logs, _, found, err := newest(ctx, p, "observation_logs/", url.Values{"assessment_status": {"Approved"}}, "-approval_date",
		p.sizes.approval, after, func(a *approval) time.Time { return a.Approved.V })
	if err != nil {
		return err
	}
	if !found { // too many: all observations are read, from the first one
		rows, _, err := page[approval](ctx, p.Client, "observation_logs/", approvedNewestFirst, 1, 1)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			p.state.Approvals = &rows[0].Approved.V
		}
		return p.readAllAnew(ctx)
	}
	last := p.state.Approvals
	rows := make([]observation, len(logs))
	for i := range logs {
		rows[i] = logs[i].Observation.V
		if at := logs[i].Approved.V; last == nil || at.After(*last) {
			last = &at
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return p.commit(ctx, "approved assessments", func(ctx context.Context, tx bun.Tx) error {
		if err := p.store(ctx, tx, rows); err != nil {
			return err
		}
		p.state.Approvals = last
		return dbmodel.SaveSecObserve(ctx, tx, p.state)
	})
}

// today reads what changed today, once in a while: uploads that took longer than the overlap show late.
func (p *pass) today(ctx context.Context) error {
	if at := p.state.TodayRead; at != nil && p.began.Sub(*at) < todayEvery && !p.began.Before(*at) {
		return nil
	}
	pages := max(1, mostToday/p.sizes.all)
	if _, _, err := p.readAll(ctx, url.Values{"age": {"Today"}}, 0, pages, nothingElse); err != nil {
		return err
	}
	p.state.TodayRead = &p.began
	return p.saveState(ctx)
}

// everything reads all observations once a day, some pages in each pass: much changes there without moving a stamp.
func (p *pass) everything(ctx context.Context) error {
	y, m, d := p.began.UTC().Date()
	due := time.Date(y, m, d, dailyHour, 0, 0, 0, time.UTC)
	if p.state.ReadTo == nil {
		if p.began.Before(due) || p.state.ReadBegan != nil && !p.state.ReadBegan.Before(due) {
			return nil
		}
		p.state.ReadTo, p.state.ReadBegan = new(int64(0)), &p.began
	}
	whole, ids, err := p.readAll(ctx, nil, *p.state.ReadTo, p.sizes.slice, p.saveReadTo)
	if err != nil || !whole {
		return err
	}
	if len(ids) == 0 { // an answer that is empty ends no reading
		stored, err := dbmodel.CountSecObserveObservations(ctx, p.DB)
		if err != nil {
			return fmt.Errorf("count the observations of SecObserve: %w", err)
		}
		if stored > 0 && !p.options.ConfirmDeletions {
			if !p.privileged {
				return nil
			}
			return &Error{Kind: Incomplete, Path: "observation_titles/", detail: "there is no observation any more"}
		}
	}
	p.state.ReadTo = nil
	if err := p.compareAll(ctx, ids); err != nil {
		return err
	}
	return p.saveState(ctx)
}

// readAllAnew has all observations read from the first one on, also where a reading is under way.
func (p *pass) readAllAnew(ctx context.Context) error {
	p.state.ReadTo, p.state.ReadBegan = new(int64(0)), &p.began
	return p.saveState(ctx)
}

// compareCount compares how many observations there are and how many are stored. In a pass without changes another
// difference than before means that some went, or came, without a trace.
func (p *pass) compareCount(ctx context.Context) error {
	if !p.privileged || p.compared || p.changed && !p.options.ConfirmDeletions {
		return nil
	}
	_, count, err := page[title](ctx, p.Client, "observation_titles/", nil, 1, 1)
	if err != nil {
		return err
	}
	stored, err := dbmodel.CountSecObserveObservations(ctx, p.DB)
	if err != nil {
		return fmt.Errorf("count the observations of SecObserve: %w", err)
	}
	if int64(count)-stored == p.state.Gap && !p.options.ConfirmDeletions {
		return nil
	}
	ids, err := p.ids(ctx, nil)
	if err != nil {
		return err
	}
	return p.compareAll(ctx, ids)
}

// compareAll compares the ids of all observations with those that are stored, and stores those that are missing.
func (p *pass) compareAll(ctx context.Context, ids []int64) error {
	lacking, err := p.compare(ctx, 0, ids, nil)
	if err != nil {
		return err
	}
	p.compared, p.listed = true, len(ids)
	return p.commit(ctx, "missing observations", func(ctx context.Context, tx bun.Tx) error {
		for key := range p.refused {
			if _, there := slices.BinarySearch(ids, key.id); key.kind != "observation" || there {
				continue
			}
			if err := p.settle(ctx, tx, dbmodel.SecObserveRefusal{Kind: key.kind, ID: key.id}, nil); err != nil {
				return err
			}
		}
		return p.store(ctx, tx, lacking)
	})
}

// compare compares the ids of a product's observations, or of all where product is 0, with those that are stored. It
// notes those that are gone, and returns those that are missing, but for the rows that the caller is about to store.
func (p *pass) compare(ctx context.Context, product int64, ids []int64, rows []observation) ([]observation, error) {
	stored, err := dbmodel.ProductObservations(ctx, p.DB, product)
	if product == 0 {
		stored, err = dbmodel.SecObserveObservations(ctx, p.DB)
	}
	if err != nil {
		return nil, fmt.Errorf("list the observations of SecObserve: %w", err)
	}
	for _, id := range stored {
		if _, there := slices.BinarySearch(ids, id); !there {
			p.gone = append(p.gone, id)
		}
	}
	_, lacking := lack(rows, ids)
	lacking = slices.DeleteFunc(lacking, func(id int64) bool {
		_, there := slices.BinarySearch(stored, id)
		_, refused := p.refused[refusal{"observation", id}]
		return there || refused
	})
	if len(lacking) <= singly {
		return p.fetch(ctx, lacking)
	}
	if product == 0 && p.state.Loaded { // the passes that follow read them
		return nil, p.readAllAnew(ctx)
	}
	var query url.Values
	if product != 0 {
		query = url.Values{"product": {strconv.FormatInt(product, 10)}}
	}
	_, _, err = p.readAll(ctx, query, 0, 0, nothingElse)
	return nil, err
}

// missingObservations returns which of the observations that were not listed are gone indeed, and how many are stored
// in all.
func (p *pass) missingObservations(ctx context.Context) ([]int64, error) {
	slices.Sort(p.gone)
	gone := slices.Compact(p.gone)
	if len(gone) > singly {
		ids, err := p.ids(ctx, nil)
		confirmed := slices.DeleteFunc(slices.Clone(gone), func(id int64) bool {
			_, there := slices.BinarySearch(ids, id)
			return there
		})
		if len(confirmed) < len(gone) {
			p.reached = nil
		}
		return confirmed, err
	}
	rows, err := p.fetch(ctx, gone)
	if len(rows) > 0 {
		p.reached = nil // the lists were not true: they are read again
	}
	_, gone = lack(rows, gone)
	return gone, err
}
