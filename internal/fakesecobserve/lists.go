package fakesecobserve

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// list returns the rows of a list in the order that was asked for; nil where there is no such list.
func (m *Model) list(kind string, r *http.Request, lessPrivileged bool) (rows []func() object, problem string) {
	rows = []func() object{}
	if lessPrivileged {
		if kind == "users" {
			u := m.users[slices.Sorted(maps.Keys(m.users))[0]]
			rows = append(rows, func() object { o := u.object(true); o["is_superuser"] = false; return o })
		}
		return rows, ""
	}
	switch kind {
	case "users":
		return sorted(m.users, func(u *User) object { return u.object(true) }), ""
	case "products":
		return sorted(m.products, (*Product).object), ""
	case "product_groups":
		return sorted(m.groups, (*Group).object), ""
	case "product_members":
		return sorted(m.members, m.member), ""
	case "product_authorization_group_members":
		return sorted(m.byGroup, func(r *Member) object {
			return object{
				"id": r.ID, "product": r.Product, "authorization_group": r.User, "role": r.Role,
				"product_data": m.nested(r.Product),
			}
		}), ""
	case "authorization_group_members":
		return sorted(m.inGroups, func(r *Member) object {
			return object{
				"id": r.ID, "authorization_group": r.Product, "user": r.User, "is_manager": false,
				"user_data": m.users[r.User].object(true),
			}
		}), ""
	case "observations", "observation_titles":
		return m.observations(kind == "observation_titles", r)
	case "observation_logs":
		return m.approvals(r)
	case "notifications":
		return m.notifications(r)
	}
	return nil, ""
}

func sorted[T any](table map[int64]T, show func(T) object) []func() object {
	rows := make([]func() object, 0, len(table))
	for _, id := range slices.Sorted(maps.Keys(table)) {
		rows = append(rows, func() object { return show(table[id]) })
	}
	return rows
}

// since returns the beginning of a span of whole days, as the filter age has it.
func (m *Model) since(age string) (time.Time, bool) {
	days, found := map[string]int{
		"": 1_000_000, "Today": 0, "Past 7 days": 7, "Past 30 days": 30, "Past 90 days": 90, "Past 365 days": 365,
	}[age]
	if days == 1_000_000 {
		return time.Time{}, true
	}
	y, month, day := m.clock.UTC().Date()
	return time.Date(y, month, day-days, 0, 0, 0, 0, time.UTC), found
}

func (m *Model) observations(titles bool, r *http.Request) (rows []func() object, problem string) {
	q := r.URL.Query()
	since, ok := m.since(q.Get("age"))
	if !ok {
		return nil, "age: not one of the available choices."
	}
	var product int64
	if text := q.Get("product"); text != "" {
		var err error
		if product, err = strconv.ParseInt(text, 10, 64); err != nil || m.products[product] == nil {
			return nil, "product: Select a valid choice."
		}
	}
	list := make([]*Observation, 0, len(m.rows))
	for _, o := range m.rows {
		if (product == 0 || o.Product == product) && !o.LastLog.Before(since) {
			list = append(list, o)
		}
	}
	switch q.Get("ordering") {
	case "-last_observation_log":
		slices.SortStableFunc(list, func(a, b *Observation) int { return b.LastLog.Compare(a.LastLog) })
	case "last_observation_log":
		slices.SortStableFunc(list, func(a, b *Observation) int { return a.LastLog.Compare(b.LastLog) })
	case "-id":
		slices.Reverse(list)
	}
	nested := map[int64]object{}
	for _, o := range list {
		if nested[o.Product] == nil {
			nested[o.Product] = m.nested(o.Product)
		}
		rows = append(rows, func() object {
			if titles {
				return object{"id": o.ID, "title": o.Title}
			}
			return o.object(nested[o.Product], true)
		})
	}
	if rows == nil {
		rows = []func() object{}
	}
	return rows, ""
}

// approvals lists logs; NULLs are first in descending order, as PostgreSQL has it.
func (m *Model) approvals(r *http.Request) (rows []func() object, problem string) {
	q := r.URL.Query()
	wanted := q.Get("assessment_status")
	known := []string{"", "Approved", "Rejected", "Needs approval", "Auto approved", "Removed"}
	if !m.oldWords {
		known = append(known, "Approved with edits")
	}
	if !slices.Contains(known, wanted) {
		return nil, "assessment_status: not one of the available choices."
	}
	logs := slices.Clone(m.logs)
	logs = slices.DeleteFunc(logs, func(l *logEntry) bool { return wanted != "" && l.status != wanted })
	if q.Get("ordering") == "-approval_date" {
		slices.SortStableFunc(logs, func(a, b *logEntry) int {
			if a.approved == nil || b.approved == nil {
				first := map[bool]int{true: 0, false: 1}
				return cmp.Compare(first[a.approved == nil], first[b.approved == nil])
			}
			return b.approved.Compare(*a.approved)
		})
	}
	rows = make([]func() object, 0, len(logs))
	for _, l := range logs {
		rows = append(rows, func() object {
			o := m.find(l.observation)
			return l.object(o, m.nested(o.Product))
		})
	}
	return rows, ""
}

// notifications lists those about gates, the newest first.
func (m *Model) notifications(r *http.Request) (rows []func() object, problem string) {
	if t := r.URL.Query().Get("type"); t != "Security gate" {
		return []func() object{}, ""
	}
	shown := slices.Clone(m.gates[:len(m.gates)-min(m.hidden, len(m.gates))])
	slices.Reverse(shown)
	rows = make([]func() object, 0, len(shown))
	for _, c := range shown {
		to := "None"
		if c.passed != nil {
			to = map[bool]string{true: "Passed", false: "Failed"}[*c.passed]
		}
		rows = append(rows, func() object {
			return object{
				"id": c.id, "product": c.product, "name": "Security gate has changed to " + to, "message": "",
				"type": "Security gate", "created": stamp(c.created), "observation": nil, "user": nil, "new_viewed": "New",
			}
		})
	}
	return rows, ""
}
