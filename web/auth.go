package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// automation is the reserved user of TOCSIN_ADMIN_TOKEN.
const automation = "automation"

// caller is who makes a request. Handlers ask it what it may, never how it proved who it is.
type caller struct {
	name  string
	admin bool
}

// authenticate lets only requests through whose caller is known, and puts the caller into their exchange. It stands before
// everything below /api/v1/, also before what does not exist.
func (s *server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, given := s.callerOf(r)
		if who == nil {
			challenge, detail := `Bearer realm="tocsin"`, `A token is needed, as the header "Authorization: Bearer …".`
			if given {
				challenge, detail = challenge+`, error="invalid_token"`, "This token is not valid."
			}
			w.Header().Set("WWW-Authenticate", challenge)
			refuse(w, newProblem(http.StatusUnauthorized, detail))
			return
		}
		x := exchangeOf(r.Context())
		x.caller = who
		x.body.letAnswerFirst()
		next.ServeHTTP(w, r)
	})
}

// callerOf returns who makes a request, nil where that is not known; given says that it came with a token.
func (s *server) callerOf(r *http.Request) (who *caller, given bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, false
	}
	if s.adminToken != nil {
		hash := sha256.Sum256([]byte(token)) // of one length, so that the comparison takes the same time for all
		if subtle.ConstantTimeCompare(hash[:], s.adminToken) == 1 {
			return &caller{name: automation, admin: true}, true
		}
	}
	return nil, true
}
