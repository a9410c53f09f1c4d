package dbmodel

import (
	"cmp"
	"context"
	"slices"

	"github.com/uptrace/bun"

	"github.com/seed91453169/tocsin/rule"
)

// DigestGroup is how many deliveries of a WaitingDigest have the same type, event and severity.
type DigestGroup struct {
	Type     rule.Type
	Event    rule.Event
	Severity rule.Severity // empty where the notification has none
	Count    int
}

// WaitingDigest is the deliveries that wait for one target, as one message says them.
type WaitingDigest struct {
	IDs      []int64 // of the deliveries
	Groups   []DigestGroup
	Products int            // different products
	Named    []Notification // gates, exceptions and tasks, oldest first, cut at the limit
	Worst    []Notification // observations and titles, the worst first, cut at the limit
	// ContactHolder is the holder that all deliveries have; the zero value where their holders differ.
	ContactHolder
	// Subscribed says that at least one of the deliveries comes from a subscription.
	Subscribed bool
}

const (
	// maxDigest is how many deliveries one digest holds at the most.
	maxDigest = 50_000

	// digestAtOnce is how many deliveries of a digest are read in one statement.
	digestAtOnce = 5_000

	digestMembers = `
		SELECT d.id, d.notification_id, d.source_kind, d.source_id, d.user_id, d.masked,
			n.type, n.event, n.product_id, n.after_severity, n.after_priority
		FROM (
			SELECT * FROM deliveries INDEXED BY deliveries_pending
			WHERE target_id BETWEEN @target AND @target AND state = 'pending' AND digest_id IS NULL AND id > @after
				AND (@batch::bigint = 0 OR batch = @batch::bigint) AND @live
			ORDER BY target_id, id LIMIT @limit
		) AS d JOIN notifications n ON n.id = d.notification_id`
)

// digestMember is a delivery of a digest, with the values of its notification by which it is counted and ordered.
type digestMember struct {
	PendingDelivery
	Type          rule.Type
	Event         rule.Event
	ProductID     *int64
	AfterSeverity rule.Severity
	AfterPriority *int
}

// isNamed reports whether m belongs in WaitingDigest.Named, as gates, exceptions and tasks do. Observations and titles
// belong in Worst.
func (m *digestMember) isNamed() bool {
	return m.Type != rule.TypeObservation && m.Type != rule.TypeObservationTitle
}

// place is the sort key of m among the members with the same isNamed; the lowest key comes first.
func (m *digestMember) place() []int64 {
	if m.isNamed() {
		return []int64{m.NotificationID}
	}
	rank, dropped, priority := m.AfterSeverity.Rank(), 0, rule.MaxPriority+1
	if rank == 0 {
		rank = rule.SeverityUnknown.Rank()
	}
	if m.Event == rule.EventDropped {
		dropped = 1
	}
	if m.AfterPriority != nil {
		priority = *m.AfterPriority
	}
	return []int64{int64(rank), int64(dropped), int64(priority), m.NotificationID}
}

// WaitingDigestOf reads the deliveries that wait for a target and belong to no StoredNetDigest, at most maxDigest.
// Where batch is not 0, it reads only those with that number, see DeliverySet.Number. The lists Named and Worst have
// at most maxNamed and maxWorst notifications.
func WaitingDigestOf(
	ctx context.Context, db bun.IDB, target, batch int64, maxNamed, maxWorst int,
) (*WaitingDigest, error) {
	out, s := new(WaitingDigest), newDigestSums(maxNamed, maxWorst)
	for after := int64(0); len(out.IDs) < maxDigest; after = out.IDs[len(out.IDs)-1] {
		part, err := queryAll[digestMember](ctx, db, digestMembers, args{
			"target": target, "batch": batch, "after": after, "limit": digestAtOnce,
			"live": bun.Safe(liveNotifications("deliveries")),
		})
		if err != nil {
			return nil, err
		}
		slices.SortFunc(part, func(a, b digestMember) int { return cmp.Compare(a.ID, b.ID) })
		for i := range part {
			out.IDs = append(out.IDs, part[i].ID)
			s.add(&part[i])
		}
		if len(part) < digestAtOnce {
			break
		}
	}
	out.Groups, out.Products, out.Subscribed = s.sortedGroups(), len(s.products), s.subscribed
	var err error
	if out.ContactHolder, err = s.readHolder(ctx, db); err != nil {
		return nil, err
	}
	out.Named, out.Worst, err = s.readLists(ctx, db)
	return out, err
}

// digestSums sums up the members of a digest that were read.
type digestSums struct {
	groups        map[DigestGroup]int // the count of each group; Count in the key is 0
	products      map[int64]bool
	named, worst  firstMembers
	holder        *ContactHolder // of the first member; nil: there is no member
	holdersDiffer bool           // another member has another holder
	subscribed    bool
}

// firstMembers are the first limit members in the order of their places, and some more until they are cut.
type firstMembers struct {
	list  []digestMember
	limit int
}

func (l *firstMembers) add(m *digestMember) {
	if l.list = append(l.list, *m); len(l.list) >= 2*l.limit+100 {
		l.cut()
	}
}

func (l *firstMembers) cut() {
	slices.SortFunc(l.list, func(a, b digestMember) int { return slices.Compare(a.place(), b.place()) })
	l.list = l.list[:min(len(l.list), l.limit)]
}

func newDigestSums(maxNamed, maxWorst int) *digestSums {
	return &digestSums{
		groups: map[DigestGroup]int{}, products: map[int64]bool{},
		named: firstMembers{limit: maxNamed}, worst: firstMembers{limit: maxWorst},
	}
}

func (s *digestSums) add(m *digestMember) {
	s.groups[DigestGroup{Type: m.Type, Event: m.Event, Severity: m.AfterSeverity}]++
	if m.ProductID != nil {
		s.products[*m.ProductID] = true
	}
	if m.isNamed() {
		s.named.add(m)
	} else {
		s.worst.add(m)
	}
	s.subscribed = s.subscribed || m.Holder.Kind == rule.HolderSubscription
	if s.holder == nil {
		s.holder = &m.ContactHolder
	}
	s.holdersDiffer = s.holdersDiffer || m.ContactHolder != *s.holder
}

func (s *digestSums) sortedGroups() []DigestGroup {
	out := make([]DigestGroup, 0, len(s.groups))
	for g, count := range s.groups {
		g.Count = count
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b DigestGroup) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Event, b.Event), cmp.Compare(a.Severity, b.Severity))
	})
	return out
}

// readHolder returns the holder that all members have, with its name; the zero value where their holders differ.
func (s *digestSums) readHolder(ctx context.Context, db bun.IDB) (ContactHolder, error) {
	if s.holdersDiffer || s.holder == nil {
		return ContactHolder{}, nil
	}
	one := []PendingDelivery{{ContactHolder: *s.holder}}
	err := nameHolders(ctx, db, one)
	return one[0].ContactHolder, err
}

// readLists reads the notifications of the lists Named and Worst, each masked where its delivery is.
func (s *digestSums) readLists(ctx context.Context, db bun.IDB) (named, worst []Notification, err error) {
	s.named.cut()
	s.worst.cut()
	ids := make([]int64, 0, len(s.named.list)+len(s.worst.list))
	for _, m := range slices.Concat(s.named.list, s.worst.list) {
		ids = append(ids, m.NotificationID)
	}
	byID, err := NotificationsByID(ctx, db, ids)
	if err != nil {
		return nil, nil, err
	}
	read := func(members []digestMember) (out []Notification) {
		for _, m := range members {
			n := byID[m.NotificationID]
			switch {
			case n == nil: // deleted meanwhile
			case m.Masked:
				out = append(out, *n.Masked())
			default:
				out = append(out, *n)
			}
		}
		return out
	}
	return read(s.named.list), read(s.worst.list), nil
}
