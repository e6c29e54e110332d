package eswire

import (
	"net/http"
	"net/url"
	"strings"
)

// Segments returns the parts of a path between its slashes, as they are spelt, without
// decoding them. Slashes at the end do not count, nor does the one at the start;
// between them, parts may be empty.
//
// A rule of a proxy, such as "deny what begins with /_security", is about the path as it
// is spelt. A server that decodes the path before it compares it would answer what the
// proxy has let through.
func Segments(u *url.URL) []string {
	path := strings.TrimRight(strings.TrimPrefix(spelling(u), "/"), "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// spelling returns the path as the client has spelt it. EscapedPath would encode it again
// if it has a character that should have been encoded.
func spelling(u *url.URL) string {
	if u.RawPath != "" {
		if decoded, err := url.PathUnescape(u.RawPath); err == nil && decoded == u.Path {
			return u.RawPath
		}
	}
	return u.EscapedPath()
}

// A Pattern is the parts of a route's path. A part in braces, such as {name}, matches any
// part; every other one matches only itself, as it is spelt.
type Pattern []string

// NewPattern returns the pattern of a path such as /a/{name}.
func NewPattern(path string) Pattern {
	return Segments(&url.URL{RawPath: path, Path: path})
}

// Match reports whether the parts of a path, see [Segments], match the pattern, and
// returns those that match its parts in braces, decoded.
func (p Pattern) Match(parts []string) (map[string]string, bool) {
	if len(parts) != len(p) {
		return nil, false
	}
	values := make(map[string]string)
	for i, part := range p {
		name, variable := strings.CutPrefix(part, "{")
		if !variable {
			if part != parts[i] {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(parts[i])
		if err != nil {
			return nil, false
		}
		values[strings.TrimSuffix(name, "}")] = value
	}
	return values, true
}

// NotFound answers a request for which there is no route.
func NotFound(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		options(w, r)
		return
	}
	Fail(w, r, &Error{http.StatusNotFound, ResourceNotFound, "no handler found for uri " + Bracket(r.URL.Path) + " and method " + Bracket(r.Method)})
}

// MethodNotAllowed answers a request for a path that takes only these methods. OPTIONS
// asks for the methods, and needs no credentials.
func MethodNotAllowed(w http.ResponseWriter, r *http.Request, allowed ...string) {
	w.Header().Set("Allow", strings.Join(allowed, ","))
	if r.Method == http.MethodOptions {
		options(w, r)
		return
	}
	Fail(w, r, &Error{http.StatusMethodNotAllowed, IllegalArgument, "Incorrect HTTP method for uri " + Bracket(r.URL.Path) +
		" and method " + Bracket(r.Method) + ", allowed: " + Bracket(strings.Join(allowed, ", "))})
}

func options(w http.ResponseWriter, r *http.Request) {
	echo(w, r)
	leaveBody(w, r)
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}
