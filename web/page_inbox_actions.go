package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// deleteFittingView asks whether all notifications that fit a filter are to be deleted.
type deleteFittingView struct {
	Count int
	Words []string // the filter; none: everything
	Until string   // when this was asked: what comes later stays
	Next  string
}

// deleteView asks whether notifications are to be deleted.
type deleteView struct {
	Rows []inboxRow // those that may be deleted
	Kept int        // how many of the chosen ones may not
	Next string
}

// chosenIDs are the notifications that a form is about: the one whose button was pressed, else those that are ticked.
func chosenIDs(r *http.Request) ([]int64, error) {
	texts := r.PostForm["one"]
	if len(texts) == 0 {
		texts = r.PostForm["id"]
	}
	if len(texts) > input.MaxIDs {
		return nil, invalid(input.Fault{Location: "id", Message: fmt.Sprintf("must be at most %d at once", input.MaxIDs)})
	}
	ids := make([]int64, 0, len(texts))
	for _, t := range texts {
		id, err := strconv.ParseInt(t, 10, 64)
		if err != nil || id < 1 {
			return nil, invalid(input.Fault{Location: "id", Message: "must be the number of a notification"})
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// saveViewed marks the chosen notifications, or all that was there when the page was made.
func (s *server) saveViewed(w http.ResponseWriter, r *http.Request) error {
	ctx, next := r.Context(), localPath(r.PostFormValue("next"))
	if text := r.PostFormValue("until"); text != "" {
		until, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return invalid(input.Fault{Location: "until", Message: input.MustBeTime})
		}
		if err := s.markViewedUntil(ctx, until); err != nil {
			return err
		}
		s.notice(ctx, "Everything up to now is marked as viewed.")
		s.redirect(w, r, next)
		return nil
	}
	ids, err := chosenIDs(r)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		s.notice(ctx, "Nothing was marked: tick some lines first.")
	} else {
		may, _, err := dbmodel.NotificationRights(ctx, s.db.Reader, viewerOf(ctx), ids, rule.Reader)
		if err != nil {
			return fmt.Errorf("ask for the rights on notifications: %w", err)
		}
		if len(may) == 0 {
			return notFound("notification")
		}
		if err := s.markViewed(ctx, may); err != nil {
			return err
		}
		s.notice(ctx, plural(len(may), "notification is", "notifications are")+" marked as viewed.")
	}
	s.redirect(w, r, next)
	return nil
}

// removeNotifications asks before it deletes: only the page that it shows sends "confirmed".
func (s *server) removeNotifications(w http.ResponseWriter, r *http.Request) error {
	ctx, next := r.Context(), localPath(r.PostFormValue("next"))
	if r.PostFormValue("fitting") != "" {
		return s.removeFitting(w, r, next)
	}
	ids, err := chosenIDs(r)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		s.notice(ctx, "Nothing was deleted: tick some lines first.")
		s.redirect(w, r, next)
		return nil
	}
	if r.PostFormValue("confirmed") != "" {
		n, err := s.deleteNotifications(ctx, ids)
		if err != nil {
			return err
		}
		if n == 0 {
			return notFound("notification")
		}
		s.notice(ctx, plural(n, "notification is", "notifications are")+" deleted.")
		s.redirect(w, r, next)
		return nil
	}
	v, err := s.askToDelete(ctx, ids)
	if err != nil {
		return err
	}
	v.Next = next
	return s.render(w, r, view{template: "delete", title: "Delete?", section: "inbox", data: v})
}

// askToDelete returns what is to be asked. It answers 404 where none of the notifications is seen, 403 where none may
// be deleted.
func (s *server) askToDelete(ctx context.Context, ids []int64) (v deleteView, err error) {
	may, mayNot, err := dbmodel.NotificationRights(ctx, s.db.Reader, viewerOf(ctx), ids, rule.Owner)
	switch {
	case err != nil:
		return v, fmt.Errorf("ask for the rights on notifications: %w", err)
	case len(may)+len(mayNot) == 0:
		return v, notFound("notification")
	case len(may) == 0:
		return v, errDeleteRight
	}
	v.Kept = len(mayNot)
	for _, id := range may {
		n, err := s.loadNotification(ctx, id)
		if err != nil {
			return v, err
		}
		v.Rows = append(v.Rows, rowOf(n))
	}
	return v, nil
}

// removeFitting deletes the notifications that fit the filter of the inbox at the address next. It says how many these
// are before it asks.
func (s *server) removeFitting(w http.ResponseWriter, r *http.Request, next string) error {
	ctx := r.Context()
	in, shown, err := s.inboxFilterAt(r, next)
	if err != nil {
		return err
	}
	confirmed := r.PostFormValue("confirmed") != ""
	asked := r.PostFormValue("asked")
	if !confirmed {
		now, err := dbmodel.DatabaseNow(ctx, s.db.Reader)
		if err != nil {
			return fmt.Errorf("ask for the time: %w", err)
		}
		asked = now.UTC().Format(time.RFC3339Nano)
	}
	until, ok := input.ParseTime(asked)
	if !ok {
		return invalid(input.Fault{Location: "asked", Message: input.MustBeTime})
	}
	filter, err := in.filter()
	if err != nil {
		return err
	}
	if filter.Until.IsZero() || until.Before(filter.Until) {
		filter.Until = until
	}
	if confirmed {
		n, err := s.deleteByFilter(ctx, filter)
		if err != nil {
			return err
		}
		s.notice(ctx, plural(n, "notification is", "notifications are")+" deleted.")
		s.redirect(w, r, next)
		return nil
	}
	v := deleteFittingView{Words: shown.words(), Until: asked, Next: next}
	err = s.list(ctx, filter.Unindexed(viewerOf(ctx)), func(ctx context.Context) (err error) {
		v.Count, err = dbmodel.CountDeletable(ctx, s.db.Reader, viewerOf(ctx), filter)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("count what is to be deleted: %w", err)
	case v.Count == 0:
		if err := s.mayDeleteNone(ctx, filter); err != nil {
			return err
		}
		s.notice(ctx, "Nothing was deleted: no notification fits the filter any more.")
		s.redirect(w, r, next)
		return nil
	}
	return s.render(w, r, view{template: "delete-fitting", title: "Delete?", section: "inbox", data: v})
}

// inboxFilterAt reads the filter of the inbox at an address of ours.
func (s *server) inboxFilterAt(r *http.Request, address string) (in notificationParams, f inboxFilter, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Path != "/" || address != r.PostFormValue("next") { // what localPath has replaced filters nothing
		return in, f, invalid(input.Fault{Location: "next", Message: "must be the address of an inbox"})
	}
	asked := r.Clone(r.Context())
	asked.URL, asked.Form, asked.PostForm = u, u.Query(), nil
	in.Sort = "-created_at"
	err = s.readInboxFilter(asked, &in, &f)
	return in, f, err
}
