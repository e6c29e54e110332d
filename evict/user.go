package evict

import (
	"context"
	"net/http"
	"slices"

	"github.com/svctoken/svctoken/internal/eswire"
)

// A User is the sender of a request for an eviction: a person, a program or a service
// account.
type User struct {
	Name string

	// Privileges are the user's cluster privileges. An eviction takes
	// manage_security, or all, which includes it.
	Privileges []string

	// ServiceAccount is whether the name is that of a service account, namespace/service,
	// and not a user's. Answers say which.
	ServiceAccount bool
}

const (
	action         = "cluster:admin/xpack/security/cache/clear"
	privilege      = "manage_security"
	superPrivilege = "all"
)

// denied returns why the user may not evict, or nil.
func (u User) denied(r *http.Request) *eswire.Error {
	if name, asked := eswire.RunAs(r); asked && name != u.Name {
		return eswire.RunAsDenied(action, u.String(), name)
	}
	if slices.Contains(u.Privileges, privilege) || slices.Contains(u.Privileges, superPrivilege) {
		return nil
	}
	return eswire.Denied(action, u.String(), privilege, superPrivilege)
}

// String returns the kind of the user, and the name in square brackets. It does not
// show what may be a bearer.
func (u User) String() string {
	if u.ServiceAccount {
		return "service account " + eswire.Bracket(u.Name)
	}
	return "user " + eswire.Bracket(u.Name)
}

type userKey struct{}

// WithUser returns a context that carries the user for whom something is done. A
// [Handler] passes it to what evicts, and so to GroupConfig.Observer; a host that evicts
// for a user by itself can do the same.
func WithUser(ctx context.Context, user User) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// UserFrom returns the user that [WithUser] has put into the context, and reports
// whether there is one.
func UserFrom(ctx context.Context) (User, bool) {
	user, ok := ctx.Value(userKey{}).(User)
	return user, ok
}
