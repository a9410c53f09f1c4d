package dbmodel

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// scannedContact is a row of contacts.
type scannedContact struct{ rule.Contact }

func scanContact(rows *sql.Rows) (c scannedContact, err error) {
	err = rows.Scan(&c.Holder.Kind, &c.Holder.ID, &c.Channel, &c.Target, &c.Written)
	c.Address = strings.TrimSpace(c.Written)
	return c, err
}

const selectContacts = "SELECT kind, coalesce(product_id, product_group_id, 0), channel, target_id, address FROM contacts WHERE "

// ContactsOf returns the contacts of holders. Those that have none are left out.
func ContactsOf(ctx context.Context, db bun.IDB, holders ...rule.Holder) (map[rule.Holder]rule.Contacts, error) {
	var products, groups []int64
	var titles, exceptions bool
	for _, h := range holders {
		switch h.Kind {
		case rule.HolderProduct:
			products = append(products, h.ID)
		case rule.HolderGroup:
			groups = append(groups, h.ID)
		case rule.HolderTitles:
			titles = true
		case rule.HolderExceptions:
			exceptions = true
		case rule.HolderSubscription: // see SubscriptionContacts
		}
	}
	ofProducts, productArg := anyOf(db, "product_id", 1, products)
	ofGroups, groupArg := anyOf(db, "product_group_id", 2, groups)
	list, err := collect(ctx, db, scanContact, selectContacts+ofProducts+" UNION ALL "+selectContacts+ofGroups+" UNION ALL "+
		selectContacts+"kind = 'observation_titles' AND $3 UNION ALL "+selectContacts+"kind = 'exceptions' AND $4",
		productArg, groupArg, titles, exceptions)
	if err != nil {
		return nil, fmt.Errorf("load contacts: %w", err)
	}
	out := map[rule.Holder]rule.Contacts{}
	for _, c := range list {
		if out[c.Holder] == nil {
			out[c.Holder] = rule.Contacts{}
		}
		out[c.Holder][c.Channel] = append(out[c.Holder][c.Channel], c.Contact)
	}
	return out, nil
}

// SetContacts replaces the contacts of a holder by one channel. The caller keeps others from changing the holder meanwhile.
func SetContacts(ctx context.Context, db bun.IDB, holder rule.Holder, channel rule.Channel, contacts []rule.Contact) error {
	var product, group *int64
	switch holder.Kind {
	case rule.HolderProduct:
		product = &holder.ID
	case rule.HolderGroup:
		group = &holder.ID
	case rule.HolderTitles, rule.HolderExceptions, rule.HolderSubscription:
	}
	_, err := execCount(ctx, db, "DELETE FROM contacts WHERE kind = $1 AND coalesce(product_id, product_group_id, 0) = $2 AND channel = $3",
		string(holder.Kind), holder.ID, string(channel))
	if err != nil || len(contacts) == 0 {
		return err
	}
	targets, addresses := make([]int64, len(contacts)), make([]string, len(contacts))
	for i, c := range contacts {
		targets[i], addresses[i] = c.Target, cmp.Or(c.Written, c.Address)
	}
	from, args := rowsFrom(db, "i", 5, col{"target", "bigint", targets}, col{"address", "text", addresses})
	_, err = execCount(ctx, db, `INSERT INTO contacts (kind, product_id, product_group_id, channel, position, target_id, address)
		SELECT $1, CAST($2 AS bigint), CAST($3 AS bigint), $4, i.ord, i.target, i.address FROM `+from+" ORDER BY i.ord",
		append([]any{string(holder.Kind), product, group, string(channel)}, args...)...)
	return err
}

// NewContacts makes contacts of addresses, which may have space around them, and finds or stores their targets. What is written is kept only of channels whose
// addresses are no secrets.
func NewContacts(ctx context.Context, db bun.IDB, v *Vault, channel rule.Channel, addresses []string) ([]rule.Contact, error) {
	trimmed := make([]string, len(addresses))
	for i, a := range addresses {
		trimmed[i] = strings.TrimSpace(a)
	}
	targets, err := EnsureTargets(ctx, db, v, channel, trimmed)
	if err != nil {
		return nil, err
	}
	out := make([]rule.Contact, len(addresses))
	for i, a := range addresses {
		out[i] = rule.Contact{Channel: channel, Target: targets[i]}
		if channel.Info().Addresses {
			out[i].Address, out[i].Written = trimmed[i], a
		}
	}
	return out, nil
}

// renewContacts gives the contacts whose addresses are known other targets: the key that theirs are found by is lost.
func renewContacts(ctx context.Context, db bun.IDB, v *Vault) error {
	list, err := collect(ctx, db, scanContact, selectContacts+"address <> ''")
	if err != nil {
		return err
	}
	for _, c := range list {
		ids, err := EnsureTargets(ctx, db, v, c.Channel, []string{c.Address})
		if err != nil {
			return err
		}
		_, err = execCount(ctx, db, "UPDATE contacts SET target_id = $1 WHERE channel = $2 AND address = $3", ids[0], string(c.Channel), c.Written)
		if err != nil {
			return err
		}
	}
	users, err := collect(ctx, db, scanID, `SELECT DISTINCT s.user_id FROM subscriptions s JOIN contacts c ON c.subscription_id = s.id
		WHERE s.user_id IS NOT NULL AND c.channel = 'email'`)
	if err != nil {
		return err
	}
	for _, id := range users {
		if err := FollowEmail(ctx, db, v, id); err != nil {
			return err
		}
	}
	return nil
}

// holdersOf returns the holders of product contexts.
func holdersOf(list []*ProductContext) []rule.Holder {
	var out []rule.Holder
	for _, c := range list {
		out = append(out, rule.Holder{Kind: rule.HolderProduct, ID: c.ID})
		if c.Group != nil {
			out = append(out, rule.Holder{Kind: rule.HolderGroup, ID: c.GroupID})
		}
	}
	slices.SortFunc(out, func(a, b rule.Holder) int { return int(a.ID - b.ID) })
	return slices.Compact(out)
}
