package worker

import (
	"context"
	"fmt"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/message"
	"github.com/seed91453169/tocsin/rule"
)

const (
	// recipientsAtOnce is how many recipients, or subscriptions, get their deliveries in one transaction.
	recipientsAtOnce = 200
	// singlesAtOnce is how many deliveries to signed webhooks, each of one notification, one statement adds at most. A
	// transaction that several webhooks share adds about as many; one for a single webhook may need several statements.
	singlesAtOnce = 10_000
)

// inParts splits recipients, or subscriptions, into parts; each part gets its deliveries in one transaction.
// getsSingles reports which of them get a delivery of each unsent notification. The more of these notifications there
// are, the fewer such recipients share a transaction, so that none holds its locks for long. The other recipients get a
// digest, in as few transactions as possible, because each transaction stores the digest anew.
func inParts[T any](list []T, getsSingles func(T) bool, unsent int) [][]T {
	var singles, others []T
	for _, one := range list {
		if getsSingles(one) {
			singles = append(singles, one)
		} else {
			others = append(others, one)
		}
	}
	size := min(max(singlesAtOnce/max(unsent, 1), 1), recipientsAtOnce)
	return slices.AppendSeq(slices.Collect(slices.Chunk(others, recipientsAtOnce)), slices.Chunk(singles, size))
}

// hasSignedWebhook reports whether s has a contact that takes notifications one by one.
func hasSignedWebhook(s *rule.Subscription) bool {
	return slices.ContainsFunc(s.Contacts, func(c rule.Contact) bool { return c.Channel.Info().Signed })
}

// recipients returns the contacts of a, less those to which nothing can be delivered.
func recipients(a rule.Applied, settings *dbmodel.Settings) []rule.Recipient {
	all := rule.Recipients(a, nil, rule.Ability{EmailFrom: settings.EmailFrom})
	return slices.DeleteFunc(all, func(r rule.Recipient) bool { return r.Reason != "" })
}

// nameProducts gives a digest the names of its products.
func (d *digestRun) nameProducts(ctx context.Context, content *dbmodel.StoredNetDigest) (err error) {
	products := make([]int64, 0, len(content.Products))
	for _, p := range content.Products {
		products = append(products, p.Product)
	}
	if len(products) == 0 {
		return nil
	}
	content.Names, err = dbmodel.NamesOf(ctx, d.w.DB, dbmodel.Viewer{Admin: true}, rule.HolderProduct, products)
	if err != nil {
		return fmt.Errorf("name the products of a digest: %w", err)
	}
	return nil
}

// store adds pending deliveries: of the digest to recipients that read messages, of each unsent notification to signed
// webhooks.
func (d *digestRun) store(
	ctx context.Context, tx bun.Tx, content *dbmodel.StoredNetDigest, unsent []int64, to []rule.Recipient,
) error {
	var readers, signed []rule.Recipient
	for _, r := range to {
		if r.Channel.Info().Signed {
			signed = append(signed, r)
		} else {
			readers = append(readers, r)
		}
	}
	for _, one := range signed {
		for part := range slices.Chunk(unsent, singlesAtOnce) {
			if err := dbmodel.AddDigestDeliveries(ctx, tx, part, []rule.Recipient{one}, 0); err != nil {
				return fmt.Errorf("store deliveries to a webhook: %w", err)
			}
		}
	}
	if len(readers) == 0 || content.Empty() {
		return nil
	}
	id, err := dbmodel.AddDigest(ctx, tx, content)
	if err != nil {
		return fmt.Errorf("store a digest: %w", err)
	}
	if err := dbmodel.AddDigestDeliveries(ctx, tx, content.Named(message.MaxNetItems), readers, id); err != nil {
		return fmt.Errorf("store deliveries of a digest: %w", err)
	}
	dbmodel.AfterCommit(ctx, func() { d.messages += len(readers) })
	return nil
}
