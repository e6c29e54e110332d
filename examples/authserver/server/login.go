package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/internal/eswire"
)

// loginKey is the key of a basicLogin in a request's context.
type loginKey struct{}

// A basicLogin is the outcome of checking a user name and a password.
type basicLogin struct {
	user evict.User
	ok   bool
}

// checkPasswords checks basic credentials before anything else is done, and answers 429
// if too many have been wrong. It refuses headers that can be read in two ways.
func (s *server) checkPasswords(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wrong := eswire.Ambiguous(r); wrong != nil {
			eswire.Fail(w, r, wrong)
			return
		}
		name, _, ok := r.BasicAuth()
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		from := s.proxies.client(r)
		if wait := s.guard.take(name, from); wait > 0 {
			s.failedLogin(r)
			tooMany(w, r, wait)
			return
		}
		var login basicLogin
		if login.user, login.ok = s.users.authenticate(r); login.ok {
			s.guard.succeeded(name, from)
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), loginKey{}, login)))
	})
}

func tooMany(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	eswire.RetryAfter(w, wait)
	eswire.Fail(w, r, &eswire.Error{
		Status: http.StatusTooManyRequests, Type: eswire.SecurityException,
		Reason: fmt.Sprintf("too many logins have failed; try again in %v", wait.Round(time.Second)+time.Second),
	})
}
