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

// A caller is the sender of a request: an operator, or a service account.
type caller struct {
	evict.User
	verdict *tokencache.Verdict[any] // of a service account; nil: an operator
}

// may reports whether the caller holds one of the privileges. If none is asked for,
// every authenticated caller may.
func (c caller) may(privileges ...string) bool {
	return len(privileges) == 0 || slices.ContainsFunc(privileges, func(p string) bool { return slices.Contains(c.Privileges, p) })
}

// identify returns the sender of the request, or false if the credentials are missing or
// wrong. An error means that there is no answer at present. The library judges service
// tokens; everything else may be another kind of credentials.
//
// A refused user keeps the name that answers may show.
func (s *server) identify(r *http.Request) (caller, bool, error) {
	if login, ok := r.Context().Value(loginKey{}).(basicLogin); ok {
		return s.identifyUser(r, login)
	}
	if eswire.ReadCredentials(r).Kind == eswire.NoCredentials {
		return caller{}, false, nil // a browser's first request is not an authentication
	}
	verdict, err := s.group.Authenticate(r.Context(), r.Header.Get("Authorization"))
	switch {
	case err == nil:
		account := verdict.Token.Account
		return caller{evict.User{Name: account.String(), Privileges: s.roleOf(account).Cluster, ServiceAccount: true}, &verdict}, true, nil
	case errors.Is(err, tokencache.ErrNotServiceToken), errors.Is(err, tokencache.ErrRefused):
		s.failedLogin(r)
		return caller{}, false, nil
	default:
		return caller{}, false, err
	}
}

// identifyUser is identify for basic credentials.
func (s *server) identifyUser(r *http.Request, login basicLogin) (caller, bool, error) {
	if !login.ok {
		s.failedLogin(r)
		return caller{User: evict.User{Name: s.shownName(eswire.ReadCredentials(r))}}, false, nil
	}
	// A user with all privileges may act as another user. Everybody else is refused: see
	// denied.
	if name, asked := eswire.RunAs(r); asked && slices.Contains(login.user.Privileges, "all") {
		if as, ok := s.users.named(name); ok {
			return caller{User: as}, true, nil
		}
	}
	return caller{User: login.user}, true, nil
}

// authenticateUser is identify for the handler of package evict.
func (s *server) authenticateUser(r *http.Request) (evict.User, bool, error) {
	c, ok, err := s.identify(r)
	return c.User, ok, err
}

// authenticated lets a request through if its sender is known, and otherwise answers it.
// Headers of the answer say which cache knew a service account, and whether from memory.
func (s *server) authenticated(w http.ResponseWriter, r *http.Request) (caller, bool) {
	c, ok, err := s.identify(r)
	switch {
	case err != nil:
		eswire.CannotTell(w, r, err)
		return caller{}, false
	case !ok:
		eswire.Unauthorized(w, r, eswire.Challenges("security"), c.Name)
		return caller{}, false
	}
	if c.verdict != nil {
		w.Header().Set("X-Svctoken-Cache", c.verdict.Cache)
		w.Header().Set("X-Svctoken-From-Memory", strconv.FormatBool(c.verdict.FromMemory))
	}
	return c, true
}

// denied returns why the caller may not do what the route does, or nil.
func (c caller) denied(route route, r *http.Request) *eswire.Error {
	if name, asked := eswire.RunAs(r); asked && name != c.Name {
		return eswire.RunAsDenied(route.action, c.String(), name)
	}
	if !c.may(route.privileges...) {
		return eswire.Denied(route.action, c.String(), route.privileges...)
	}
	return nil
}
