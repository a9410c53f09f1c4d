package dbmodel

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// contactRow is a row of contacts.
type contactRow struct {
	Holder   rule.Holder `bun:"embed:holder_"`
	Channel  rule.Channel
	TargetID int64
	Address  string
	Position int
}

func (r *contactRow) contact() rule.Contact {
	return rule.Contact{
		Holder: r.Holder, Channel: r.Channel, Target: r.TargetID, Address: strings.TrimSpace(r.Address), Written: r.Address,
	}
}

const contactsOf = `
	SELECT kind AS holder_kind, product_id AS holder_id, channel, target_id, address, position
	FROM contacts WHERE product_id = ANY (@products)
	UNION ALL
	SELECT kind, product_group_id, channel, target_id, address, position
	FROM contacts WHERE product_group_id = ANY (@groups)
	UNION ALL
	SELECT kind, 0, channel, target_id, address, position FROM contacts WHERE kind = 'observation_titles' AND @titles
	UNION ALL
	SELECT kind, 0, channel, target_id, address, position FROM contacts WHERE kind = 'exceptions' AND @exceptions
	ORDER BY position`

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
	list, err := queryAll[contactRow](ctx, db, contactsOf, args{
		"products": numbers(products), "groups": numbers(groups), "titles": titles, "exceptions": exceptions,
	})
	if err != nil {
		return nil, fmt.Errorf("load contacts: %w", err)
	}
	out := map[rule.Holder]rule.Contacts{}
	for _, r := range list {
		if out[r.Holder] == nil {
			out[r.Holder] = rule.Contacts{}
		}
		out[r.Holder][r.Channel] = append(out[r.Holder][r.Channel], r.contact())
	}
	return out, nil
}

const deleteContacts = `DELETE FROM contacts WHERE kind = @kind AND channel = @channel AND @held`

const insertContacts = `
	INSERT INTO contacts (kind, product_id, product_group_id, channel, position, target_id, address)
	SELECT @kind, @product::bigint, @group::bigint, @channel, i.ord, i.target, i.address
	FROM @contacts AS i ORDER BY i.ord`

// held is the condition that a contact belongs to holder, in the form that the indexes of contacts serve. A statement
// compares the kind, too: the parts of the settings differ in that alone.
func held(holder rule.Holder) bun.Safe {
	switch holder.Kind {
	case rule.HolderProduct:
		return bun.Safe(fmt.Sprintf("product_id = %d", holder.ID))
	case rule.HolderGroup:
		return bun.Safe(fmt.Sprintf("product_group_id = %d", holder.ID))
	case rule.HolderSubscription:
		return bun.Safe(fmt.Sprintf("subscription_id = %d", holder.ID))
	case rule.HolderTitles, rule.HolderExceptions:
	}
	return "product_id IS NULL AND product_group_id IS NULL AND subscription_id IS NULL"
}

// SetContacts replaces the contacts that a product, a product group or a part of the settings has on one channel;
// those of a subscription are for SetSubscriptionContacts. The caller keeps others from changing the holder meanwhile.
func SetContacts(
	ctx context.Context, db bun.IDB, holder rule.Holder, channel rule.Channel, contacts []rule.Contact,
) error {
	var product, group *int64
	switch holder.Kind {
	case rule.HolderProduct:
		product = &holder.ID
	case rule.HolderGroup:
		group = &holder.ID
	case rule.HolderTitles, rule.HolderExceptions, rule.HolderSubscription:
	}
	_, err := exec(ctx, db, deleteContacts,
		args{"kind": string(holder.Kind), "channel": string(channel), "held": held(holder)})
	if err != nil || len(contacts) == 0 {
		return err
	}
	_, err = exec(ctx, db, insertContacts, args{
		"kind": string(holder.Kind), "product": product, "group": group, "channel": string(channel), "contacts": rows{
			column(contacts, "target", "bigint", func(c *rule.Contact) int64 { return c.Target }),
			column(contacts, "address", "text", func(c *rule.Contact) string { return cmp.Or(c.Written, c.Address) }),
		},
	})
	return err
}

// NewContacts makes contacts from addresses, which may have space around them, and finds or stores their targets. On
// channels whose addresses are secrets the contacts hold no address.
func NewContacts(
	ctx context.Context, db bun.IDB, v *Vault, channel rule.Channel, addresses []string,
) ([]rule.Contact, error) {
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
		if channel.Info().ByAddress {
			out[i].Address, out[i].Written = trimmed[i], a
		}
	}
	return out, nil
}

const writtenContacts = `SELECT DISTINCT channel, address FROM contacts WHERE address <> ''`

const emailSubscribers = `
	SELECT DISTINCT s.user_id FROM subscriptions s JOIN contacts c ON c.subscription_id = s.id
	WHERE s.user_id IS NOT NULL AND c.channel = 'email'`

const moveContacts = `UPDATE contacts SET target_id = @target WHERE channel = @channel AND address = @address`

// renewContacts moves the contacts that hold their address, and the subscriptions by email, to new targets: the key by
// which the old targets are found is lost.
func renewContacts(ctx context.Context, db bun.IDB, v *Vault) error {
	list, err := queryAll[contactRow](ctx, db, writtenContacts, nil)
	if err != nil {
		return err
	}
	for _, c := range list {
		ids, err := EnsureTargets(ctx, db, v, c.Channel, []string{strings.TrimSpace(c.Address)})
		if err != nil {
			return err
		}
		_, err = exec(ctx, db, moveContacts, args{"target": ids[0], "channel": string(c.Channel), "address": c.Address})
		if err != nil {
			return err
		}
	}
	users, err := queryAll[int64](ctx, db, emailSubscribers, nil)
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

// holdersOf returns the holders of product contexts, each once.
func holdersOf(list []*ProductContext) []rule.Holder {
	var out []rule.Holder
	for _, c := range list {
		out = append(out, rule.Holder{Kind: rule.HolderProduct, ID: c.ID})
		if c.Group != nil {
			out = append(out, rule.Holder{Kind: rule.HolderGroup, ID: c.GroupID})
		}
	}
	slices.SortFunc(out, func(a, b rule.Holder) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return slices.Compact(out)
}
