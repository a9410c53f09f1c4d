package web

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/seed91453169/tocsin/dbmodel"
)

// unsubscribeView is the page behind the link in a mail.
type unsubscribeView struct {
	Name    string
	Enabled bool
	Self    string
}

// errNoSubscription is the answer to a link of a subscription that is gone, and to one that never was.
var errNoSubscription = newProblem(http.StatusNotFound,
	"This link belongs to no subscription: it was deleted, so no more mail comes from it.").
	advising("There is nothing left to do.")

// subscriptionInLink returns the subscription that a link to disable it names. Nobody is logged in.
func (s *server) subscriptionInLink(r *http.Request) (*dbmodel.Subscription, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || subtle.ConstantTimeCompare([]byte(r.PathValue("key")), []byte(s.vault.UnsubscribeKey(id))) != 1 {
		return nil, errNoSubscription
	}
	sub, err := dbmodel.VisibleSubscriptionByID(r.Context(), s.db.Reader, dbmodel.AutomationViewer(), id)
	if errors.Is(err, dbmodel.ErrNotFound) || err == nil && sub.UserID == nil {
		return nil, errNoSubscription
	}
	if err != nil {
		return nil, fmt.Errorf("load subscription %d: %w", id, err)
	}
	return sub, nil
}

func (s *server) showUnsubscribe(w http.ResponseWriter, r *http.Request) error {
	sub, err := s.subscriptionInLink(r)
	if err != nil {
		return err
	}
	return s.render(w, r, view{
		template: "unsubscribe", title: "Unsubscribe", data: unsubscribeView{
			Name: sub.Name, Enabled: sub.Enabled, Self: r.URL.Path,
		},
	})
}

// unsubscribe disables the subscription. It takes the forms of the page and of mail programs, which send no cookie,
// and answers the latter without a redirect: https://www.rfc-editor.org/rfc/rfc8058#section-3.2
func (s *server) unsubscribe(w http.ResponseWriter, r *http.Request) {
	sub, err := s.subscriptionInLink(r)
	if err == nil {
		_, err = dbmodel.DisableSubscription(r.Context(), s.db, sub.ID)
	}
	if err != nil {
		refuse(w, s.fail(r.Context(), err))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.PostFormValue("button") != "" {
		s.redirect(w, r, fmt.Sprintf("/unsubscribe/%d/%s", sub.ID, s.vault.UnsubscribeKey(sub.ID)))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("The subscription is disabled.\n"))
}
