package web

import (
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// pauseZone is the field of a form that names the time zone of both times of a pause. It is stored nowhere: they are
// moments.
const pauseZone = "notification_paused_timezone"

// pauseZoneField is that field. The script of the page names the zone of the browser there, and shows the times by its
// clock.
func pauseZoneField() formField {
	return formField{
		Name: pauseZone, Label: "Time zone of the pause", Kind: textField, Value: "UTC", Default: "UTC",
		Help: "Like Europe/Berlin: the clock by which both times are read. They are kept as moments.",
	}
}

// inPauseZone returns a form with the times of a pause that were typed, or whose zone was changed, as moments; or what
// is wrong with their zone.
func inPauseZone(form url.Values) (out url.Values, fault string) {
	name := strings.TrimSpace(form.Get(pauseZone))
	if _, refused := (rule.Schedule{Line: "0 0 * * *", Timezone: name}).Slots(); len(refused) > 0 {
		return form, refused[0].Reason
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return form, err.Error()
	}
	moved := form.Has(pauseZone+input.WasSuffix) && form.Get(pauseZone+input.WasSuffix) != form.Get(pauseZone)
	out = maps.Clone(form)
	for _, field := range []string{"notification_paused_from", "notification_paused_until"} {
		text := form.Get(field)
		if text != "" && (moved || !form.Has(field+input.WasSuffix) || form.Get(field+input.WasSuffix) != text) {
			out.Set(field, input.FormTime(strings.TrimSpace(text), zone))
		}
	}
	return out, ""
}
