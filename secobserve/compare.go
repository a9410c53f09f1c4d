package secobserve

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
)

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
	stored, err := dbmodel.ProductObservationIDs(ctx, p.DB, product)
	if product == 0 {
		stored, err = dbmodel.SecObserveObservationIDs(ctx, p.DB)
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
