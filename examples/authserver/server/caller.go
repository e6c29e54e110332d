package server

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/internal/eswire"
	"github.com/svctoken/svctoken/tokencache"
)

// A caller is who sent a request: an operator, or a service account.
type caller struct {
	evict.User
	verdict *tokencache.Verdict[any] // of a service account; nil: an operator
}

// may reports whether the caller holds one of the privileges. None asked for means
// that anybody may who has been authenticated.
func (c caller) may(privileges ...string) bool {
	return len(privileges) == 0 || slices.ContainsFunc(privileges, func(p string) bool { return slices.Contains(c.Privileges, p) })
}

// String is how reasons call the caller.
func (c caller) String() string {
	if c.verdict != nil {
		return "service account " + eswire.Bracket(c.Name)
	}
	return "user " + eswire.Bracket(c.Name)
}

// identify says who sent the request, or false where the credentials are missing or
// wrong. The error means that nobody can tell at present. For a service account
// this is what the library is for; what is not a service token may be another kind
// of credentials.
func (s *server) identify(r *http.Request) (caller, bool, error) {
	verdict, err := s.group.Authenticate(r.Context(), r.Header.Get("Authorization"))
	switch {
	case err == nil:
		account := verdict.Token.Account
		return caller{evict.User{Name: account.String(), Privileges: roleOf(account).Cluster}, &verdict}, true, nil
	case errors.Is(err, tokencache.ErrNotServiceToken):
		if user, ok := s.users.authenticate(r); ok {
			return caller{User: user}, true, nil
		}
	case !errors.Is(err, tokencache.ErrRefused):
		return caller{}, false, err
	}
	s.failedLogin(r)
	return caller{}, false, nil
}

// authenticateUser is identify for the handler of package evict.
func (s *server) authenticateUser(r *http.Request) (evict.User, bool, error) {
	c, ok, err := s.identify(r)
	return c.User, ok, err
}

// authenticated lets those requests through whose sender is known, and otherwise
// answers them. It says which cache knew a service account, and whether from
// memory.
func (s *server) authenticated(w http.ResponseWriter, r *http.Request) (caller, bool) {
	c, ok, err := s.identify(r)
	switch {
	case err != nil:
		eswire.CannotTell(w, r, err)
		return caller{}, false
	case !ok:
		eswire.Unauthorized(w, r)
		return caller{}, false
	}
	if c.verdict != nil {
		w.Header().Set("X-Svctoken-Cache", c.verdict.Cache)
		w.Header().Set("X-Svctoken-From-Memory", strconv.FormatBool(c.verdict.FromMemory))
	}
	return c, true
}
