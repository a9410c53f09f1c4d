package fakesecobserve

import (
	"strings"
	"time"
)

// Rows as the API shows them, with some of the fields that nobody here needs.

type object map[string]any

// berlin is a zone as SecObserve may be set to: times come with its offset.
var berlin = time.FixedZone("", 2*60*60)

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.In(berlin).Format("2006-01-02T15:04:05.000000-07:00")
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func (n *Notification) into(o object) {
	statuses := n.Statuses
	if statuses == nil {
		statuses = []string{}
	}
	o["notification_email_to"] = n.EmailTo
	o["notification_ms_teams_webhook"] = n.Teams
	o["notification_slack_webhook"] = n.Slack
	o["observation_notification_min_severity"] = n.MinSeverity
	o["observation_notification_status_list"] = statuses
	o["observation_notification_min_priority"] = n.MinPriority
}

func (g *Group) object() object {
	o := object{"id": g.ID, "name": g.Name, "description": "", "products_count": 1}
	g.into(o)
	return o
}

// nested is a product or a product group within another object: statuses are a text there.
func (m *Model) nested(id int64) object {
	o := object{"id": id}
	if p := m.products[id]; p != nil {
		p.into(o)
		o["name"], o["is_product_group"], o["observation_notification_status_list"] = p.Name, false,
			strings.Join(p.Statuses, ",")
	} else if g := m.groups[id]; g != nil {
		g.into(o)
		o["name"], o["is_product_group"], o["observation_notification_status_list"] = g.Name, true,
			strings.Join(g.Statuses, ",")
	}
	return o
}

func (p *Product) object() object {
	o := object{
		"id": p.ID, "name": p.Name, "product_group": nil, "security_gate_passed": p.Gate, "description": "",
		"last_observation_change": stamp(p.LastChange), "issue_tracker_api_key": "", "repository_prefix": "",
	}
	if p.GroupID != 0 {
		o["product_group"] = p.GroupID
	}
	p.into(o)
	return o
}

func (u *User) object(inList bool) object {
	name := u.FullName
	if u.Inactive && inList {
		name += " (inactive)"
	}
	return object{
		"id": u.ID, "username": u.Username, "full_name": name, "email": u.Email, "is_active": !u.Inactive,
		"is_superuser": u.Superuser, "is_external": false, "is_oidc_user": false,
	}
}

func (m *Model) member(r *Member) object {
	o := object{"id": r.ID, "product": r.Product, "user": r.User, "role": r.Role, "product_data": m.nested(r.Product)}
	if u := m.users[r.User]; u != nil {
		o["user_data"] = u.object(true)
	}
	return o
}

func (o *Observation) object(product object, inList bool) object {
	name := o.Component
	if o.Version != "" {
		name += ":" + o.Version
	}
	if name != "" && inList {
		name += " (npm)"
	}
	out := object{
		"id": o.ID, "product": o.Product, "product_data": product, "branch_name": o.Branch, "title": o.Title,
		"description": o.Description, "current_severity": o.Severity, "current_status": o.Status,
		"current_priority": o.Priority,
		"parser_data":      object{"id": 1, "name": "Parser", "type": o.ParserType, "source": "File", "sbom": false},
		"vulnerability_id": o.Vuln, "cvss3_score": orNull(o.CVSS3), "cvss4_score": orNull(o.CVSS4),
		"origin_component_name": o.Component, "origin_component_version": o.Version, "origin_component_name_version": name,
		"origin_docker_image_name_tag": o.Image, "origin_source_file": o.File, "origin_endpoint_url": o.Endpoint,
		"origin_service_name": o.Service, "scanner": o.Scanner, "epss_score": orNull(o.EPSS), "cve_found_in": []object{},
		"last_observation_log": stamp(o.LastLog), "origin_cloud_qualified_resource": "",
		"origin_kubernetes_qualified_resource": "",
	}
	if o.Exploited {
		out["cve_found_in"] = []object{{"source": "VulnCheck KEV"}, {"source": "CISA KEV"}}
	}
	return out
}

func (l *logEntry) object(o *Observation, product object) object {
	var approved any
	if l.approved != nil {
		approved = stamp(*l.approved)
	}
	return object{
		"id": l.id, "observation": l.observation, "severity": "", "status": "", "priority": nil, "comment": "",
		"assessment_status": l.status, "created": stamp(l.created), "approval_date": approved,
		"observation_data": o.object(product, true),
	}
}

func (s *Settings) object() object {
	title := object{}
	s.Title.into(title)
	return object{
		"id": 1, "email_from": s.EmailFrom, "exception_email_to": s.ExceptionEmail,
		"exception_ms_teams_webhook": s.ExceptionTeams,
		"exception_slack_webhook":    s.ExceptionSlack, "exception_rate_limit": s.ExceptionLimit,
		"base_url_frontend":                               s.Frontend,
		"observation_title_notification_min_severity":     s.Title.MinSeverity,
		"observation_title_notification_status_list":      title["observation_notification_status_list"],
		"observation_title_notification_min_priority":     s.Title.MinPriority,
		"observation_title_notification_parser_type":      s.TitleParser,
		"observation_title_notification_email_to":         s.Title.EmailTo,
		"observation_title_notification_ms_teams_webhook": s.Title.Teams,
		"observation_title_notification_slack_webhook":    s.Title.Slack,
		"feature_vex": true, "jwt_validity_duration_user": 168,
	}
}
