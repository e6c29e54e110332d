package eswire

import (
	"net/http"
	"net/url"
	"strings"
)

// Segments returns the parts of a path between its slashes, decoded. Slashes at the
// end do not count, nor does the one at the start; between them, parts may be empty.
// It reports false for a path that cannot be decoded.
func Segments(u *url.URL) ([]string, bool) {
	path := strings.TrimRight(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	if path == "" {
		return nil, true
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		decoded, err := url.PathUnescape(part)
		if err != nil {
			return nil, false
		}
		parts[i] = decoded
	}
	return parts, true
}

const most = 256 // bytes of a request that a reason repeats

// Bracket returns s in square brackets, cut where it is long.
func Bracket(s string) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return "[" + s + "]"
}

// NotFound answers a request that no route is for.
func NotFound(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		options(w, r)
		return
	}
	Fail(w, r, &Error{http.StatusNotFound, ResourceNotFound, "no handler found for uri " + Bracket(r.URL.Path) + " and method " + Bracket(r.Method)})
}

// MethodNotAllowed answers a request whose path there is for these methods alone.
// OPTIONS asks for them, and needs no credentials.
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
