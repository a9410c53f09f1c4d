package secobserve

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/internal/accept"
	"github.com/seed91453169/tocsin/rule"
)

// inactiveSuffix is what lists show behind the name of a user who is not active.
const inactiveSuffix = " (inactive)"

// knownExploited is the catalogue of vulnerabilities that are known to be exploited.
const knownExploited = "CISA KEV"

// splitList splits a text at its commas; space around the parts is dropped, and so are empty parts.
func splitList(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// convert returns an observation as it is reported to Tocsin, or why Tocsin refuses it.
func (o *observation) convert() (dbmodel.Observation, error) {
	out := dbmodel.Observation{
		ID: o.ID.V, ProductID: o.Product.V, Title: o.Title.V,
		Severity: rule.Severity(o.Severity.V), Status: rule.Status(o.Status.V), Priority: o.Priority.V,
		ParserType: rule.ParserType(o.Parser.V.Type),
		Details: dbmodel.Details{
			VulnerabilityID: o.Vuln,
			Origin:          dbmodel.Origin{Component: o.Component, Image: o.Image, File: o.File, Endpoint: o.Endpoint},
			Branch:          o.Branch, Service: o.Service, Scanner: o.Scanner,
		},
	}
	if o.CVEFoundIn != nil {
		out.KnownExploited = new(slices.Contains(*o.CVEFoundIn, cveSource{Source: knownExploited}))
	}
	if o.Component != "" && o.Version != "" {
		out.Origin.Component += ":" + o.Version
	}
	score := o.CVSS4
	if score == "" {
		score = o.CVSS3
	}
	var err error
	if out.CVSSScore, err = score.number(1); err != nil {
		return out, fmt.Errorf("cvss_score: %w", err)
	}
	if out.EPSSScore, err = o.EPSS.number(100); err != nil {
		return out, fmt.Errorf("epss_score: %w", err)
	}
	if faults := accept.ValidateObservation(&out); faults != nil {
		return out, faults
	}
	return out, nil
}

// number returns the value divided by a number, nil for null.
func (n decimal) number(by float64) (*float64, error) {
	if n == "" {
		return nil, nil //nolint:nilnil // null is no fault
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil {
		return nil, fmt.Errorf("must be a number, not %.40q", string(n))
	}
	return new(f / by), nil
}

// applyConditions takes over conditions, each on its own: one that Tocsin refuses stays as it is, and the faults say
// why.
func applyConditions(c *rule.Conditions, minSeverity string, statuses []string, minPriority *int) (faults []string) {
	if severity := rule.Severity(minSeverity); minSeverity == "" || severity.Valid() {
		c.MinSeverity = severity
	} else {
		faults = append(faults, fmt.Sprintf("min_severity: %.40q is not a severity", minSeverity))
	}
	list := make([]rule.Status, len(statuses))
	unknown := slices.IndexFunc(statuses, func(s string) bool { return !rule.Status(s).Valid() })
	if unknown < 0 {
		for i, s := range statuses {
			list[i] = rule.Status(s)
		}
		c.Statuses = list
	} else {
		faults = append(faults, fmt.Sprintf("statuses: %.40q is not a status", statuses[unknown]))
	}
	if p := minPriority; p == nil || *p >= rule.MinPriority && *p <= rule.MaxPriority {
		c.MinPriority = p
	} else {
		faults = append(faults, fmt.Sprintf("min_priority: must be from %d to %d", rule.MinPriority, rule.MaxPriority))
	}
	return faults
}

// roles are those of SecObserve, from 1 on.
var roles = []rule.Role{rule.Reader, rule.Upload, rule.Writer, rule.Maintainer, rule.Owner}

func roleOf(n int) (rule.Role, bool) {
	if n < 1 || n > len(roles) {
		return "", false
	}
	return roles[n-1], true
}
