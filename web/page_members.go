package web

import (
	"errors"
	"net/http"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
	"github.com/seed91453169/tocsin/web/input"
)

// memberIn is the member that a form names.
func memberIn(r *http.Request, id int64) *memberParams {
	return &memberParams{IDParam: IDParam{id}, UserParam: UserParam{Username: nameIn(r)}}
}

// saveMember makes a user a member, or changes the role.
func (s *server) saveMember(k holderKind) pageHandler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := s.loadHolder(r, k)
		if err != nil {
			return err
		}
		if !p.MayManage {
			return needs(rule.NoRole, rule.Owner)
		}
		in := memberIn(r, p.ID)
		var sent memberFields
		faults := input.ReadForm(r.PostForm, &sent)
		if err := dbmodel.CheckUsername(in.Username); err != nil {
			faults.Add("username", err.Error())
		}
		if faults != nil {
			err = invalid(faults...)
		} else {
			err = s.setMember(r.Context(), k.members(), in, &sent)
		}
		// A user that does not exist is a slip of the pen; a product that one does not see stays a page of its own.
		if errors.Is(err, errNoUser) {
			err = invalid(input.Fault{
				Location: "username", Message: "is no user here: an administrator adds users in the settings",
			})
		}
		if refused, is := faultsIn(err); is {
			p.Member = memberForm{Username: in.Username, Role: r.PostForm.Get("role"), Faults: refused}
			return s.renderHolder(w, r, p, http.StatusUnprocessableEntity)
		}
		if err != nil {
			return err
		}
		s.notice(r.Context(), in.Username+" is "+string(sent.Role.Value)+" now.")
		s.redirect(w, r, p.Path+"#members")
		return nil
	}
}

// takeMemberOut ends a membership.
func (s *server) takeMemberOut(k holderKind) pageHandler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := idInPath(r, k.noun())
		if err != nil {
			return err
		}
		in := memberIn(r, id)
		if err := s.removeMember(r.Context(), k.members(), in); err != nil {
			return err
		}
		s.notice(r.Context(), in.Username+" is no member any more.")
		to := k.path(id)
		if _, err := k.members().role(r.Context(), s.db.Reader, viewerOf(r.Context()), id); err != nil {
			to = k.root // who takes themselves out does not see it any more
		}
		s.redirect(w, r, to)
		return nil
	}
}
