package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/svctoken/svctoken/evict"
)

// users are the operators, who use basic authentication.
type users struct{ list []user }

type user struct {
	name       string
	password   [sha256.Size]byte
	privileges []string
}

// credentials returns USER:PASSWORD as given, or else from the environment. If the text
// begins with @, the rest is the path of a file that holds it: other users of the machine
// can read a process's arguments.
func credentials(given, variable string) (string, error) {
	if given == "" {
		given = os.Getenv(variable)
	}
	path, ok := strings.CutPrefix(given, "@")
	if !ok {
		return given, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(content), "\r\n")
	if strings.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("%s: must hold one line", path)
	}
	return text, nil
}

// add adds a user, as USER:PASSWORD.
func (u *users) add(credentials string, privileges ...string) error {
	name, password, ok := strings.Cut(credentials, ":")
	if !ok || name == "" || password == "" {
		return errors.New("must be USER:PASSWORD")
	}
	u.list = append(u.list, user{name, sha256.Sum256([]byte(password)), privileges})
	return nil
}

// known reports whether there is such a user.
func (u *users) known(name string) bool {
	return slices.ContainsFunc(u.list, func(user user) bool { return user.name == name })
}

// named returns the user of that name.
func (u *users) named(name string) (evict.User, bool) {
	for _, user := range u.list {
		if user.name == name {
			return evict.User{Name: name, Privileges: user.privileges}, true
		}
	}
	return evict.User{}, false
}

// authenticate returns the sender of the request.
func (u *users) authenticate(r *http.Request) (evict.User, bool) {
	name, password, ok := r.BasicAuth()
	sum := sha256.Sum256([]byte(password))
	i := slices.IndexFunc(u.list, func(user user) bool {
		return user.name == name && subtle.ConstantTimeCompare(user.password[:], sum[:]) == 1
	})
	if !ok || i < 0 {
		return evict.User{}, false
	}
	return evict.User{Name: name, Privileges: u.list[i].privileges}, true
}
