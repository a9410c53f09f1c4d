package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/seed91453169/tocsin/dbmodel"
	"github.com/seed91453169/tocsin/rule"
)

// caller is the user or program that makes a request. Handlers ask what it may do, never how it proved who it is.
type caller struct {
	viewer  dbmodel.Viewer
	session bool // came with the cookie of a browser
}

// access says which callers may make a call at all. What somebody sees, and may change of that, is decided with the
// Viewer.
type access int

const (
	administrators access = iota // a call that says nothing is for them alone
	ingesters                    // and programs that report what happens
	people                       // and users
	everybody                    // all three
)

// accessWords say which callers may make a call.
var accessWords = map[access]string{
	administrators: "For administrators.",
	ingesters:      "For administrators and tokens of the scope ingest.",
	people:         "For users, of what they may see and change.",
	everybody:      "For users, of what they may see and change, and for tokens of the scope ingest.",
}

func (c *caller) may(a access) bool {
	switch {
	case c.viewer.Admin:
		return true
	case c.viewer.Ingest:
		return a == ingesters || a == everybody
	}
	return a == people || a == everybody
}

// viewerOf returns the caller of this context's request, as the queries want it.
func viewerOf(ctx context.Context) dbmodel.Viewer { return exchangeOf(ctx).caller.viewer }

// forbidden is the answer to a caller who sees something and may not change it.
func forbidden(detail string) *problem { return newProblem(http.StatusForbidden, detail) }

// needs answers 403 where role does not allow what is asked. Administrators have every role.
func needs(role, needed rule.Role) error {
	if role.Covers(needed) {
		return nil
	}
	return forbidden("This needs the role " + string(needed) + " there.")
}

// authenticate lets only requests through whose caller is known, and puts the caller into their exchange. It stands
// before everything below /api/v1/, also before what does not exist.
func (s *server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limited, cancel := context.WithTimeout(r.Context(), callTime)
		who, given, err := s.callerOf(r.WithContext(limited))
		cancel()
		x := exchangeOf(r.Context())
		if err != nil {
			x.refuseStranger(s.fail(r.Context(), err))
			return
		}
		if who == nil {
			x.refuseStranger(unauthorized(w.Header(), given))
			return
		}
		if err := s.crossOrigin.Check(r); who.session && err != nil {
			x.refuseStranger(forbidden("This call was made from a page of another site."))
			return
		}
		x.caller = who
		x.body.letAnswerFirst()
		next.ServeHTTP(w, r)
	})
}

// refuseStranger is refuse for an exchange that gets no caller: the answer does not wait for the body.
func (x *exchange) refuseStranger(p *problem) {
	if x.body.comes() {
		x.w.Header().Set("Connection", "close")
	}
	refuse(x.w, p)
}

// unauthorized is the answer to a caller who is not known; given says that the request came with a token.
func unauthorized(header http.Header, given bool) *problem {
	challenge, detail := `Bearer realm="tocsin"`, `A token is needed, as the header "Authorization: Bearer …".`
	if given {
		challenge, detail = challenge+`, error="invalid_token"`, "This token is not valid, or not any more."
	}
	header.Set("WWW-Authenticate", challenge)
	return newProblem(http.StatusUnauthorized, detail)
}

// allow refuses calls of those who may not make them, before anything of the request is looked at.
func allow(a access) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		switch c := exchangeOf(ctx.Context()).caller; {
		case c.may(a):
			next(ctx)
		case c.viewer.Ingest:
			refuseCall(ctx, "A token of the scope ingest reports what happens, and keeps products, groups, members and users: "+
				"this call needs another one.")
		default:
			refuseCall(ctx, "This call is for administrators only.")
		}
	}
}

func refuseCall(ctx huma.Context, detail string) {
	_, w := humago.Unwrap(ctx)
	refuse(w, forbidden(detail))
}

// callerOf returns who makes a request, nil where that is not known; given says that it came with a token. Without one
// the cookie of a session counts.
func (s *server) callerOf(r *http.Request) (who *caller, given bool, err error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		who, err = s.callerBySession(r)
		return who, false, err
	}
	who, err = s.callerByToken(r.Context(), token)
	return who, true, err
}

func (s *server) callerByToken(ctx context.Context, token string) (*caller, error) {
	if s.adminToken != nil {
		hash := sha256.Sum256([]byte(token)) // of one length, so that the comparison takes the same time for all
		if subtle.ConstantTimeCompare(hash[:], s.adminToken) == 1 {
			return &caller{viewer: dbmodel.AutomationViewer()}, nil
		}
	}
	v, err := dbmodel.ViewerByToken(ctx, s.intake.Reader, token)
	switch {
	case errors.Is(err, dbmodel.ErrNotFound):
		return nil, nil //nolint:nilnil // nobody, and no fault
	case err != nil:
		return nil, fmt.Errorf("look a token up: %w", err)
	}
	return &caller{viewer: v}, nil
}
