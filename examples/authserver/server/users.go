package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/svctoken/svctoken/evict"
)

// users are the operators, who use basic authentication. The bearers of service
// account tokens are not among them.
type users struct{ list []user }

type user struct {
	name       string
	password   [sha256.Size]byte
	privileges []string
}

func newUsers() *users { return &users{} }

// add adds a user, as USER:PASSWORD.
func (u *users) add(credentials string, privileges ...string) error {
	name, password, ok := strings.Cut(credentials, ":")
	if !ok || name == "" || password == "" {
		return errors.New("must be USER:PASSWORD")
	}
	u.list = append(u.list, user{name, sha256.Sum256([]byte(password)), privileges})
	return nil
}

// authenticate says who sent the request.
func (u *users) authenticate(r *http.Request) (evict.User, bool, error) {
	name, password, ok := r.BasicAuth()
	sum := sha256.Sum256([]byte(password))
	i := slices.IndexFunc(u.list, func(user user) bool {
		return user.name == name && subtle.ConstantTimeCompare(user.password[:], sum[:]) == 1
	})
	if !ok || i < 0 {
		return evict.User{}, false, nil
	}
	return evict.User{Name: name, Privileges: u.list[i].privileges}, true, nil
}

// may reports whether the user holds the privilege, or the one that includes it.
func may(user evict.User, privilege string) bool {
	return slices.Contains(user.Privileges, privilege) || slices.Contains(user.Privileges, "manage_security")
}

// require lets those users through who hold the privilege.
func (u *users) require(privilege string, next func(http.ResponseWriter, *http.Request, evict.User)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, ok, err := u.authenticate(r)
		switch {
		case err != nil:
			fail(w, r, http.StatusServiceUnavailable, "security_exception", err.Error())
		case !ok:
			unauthorized(w, r, "missing or wrong credentials")
		case !may(user, privilege):
			fail(w, r, http.StatusForbidden, "security_exception", fmt.Sprintf("user [%s] needs the cluster privilege [%s] or [manage_security]", user.Name, privilege))
		default:
			next(w, r, user)
		}
	}
}
