package eswire

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// The types of errors.
const (
	IllegalArgument   = "illegal_argument_exception"
	ValidationFailed  = "action_request_validation_exception"
	SecurityException = "security_exception"
	ResourceNotFound  = "resource_not_found_exception"
	VersionConflict   = "version_conflict_engine_exception"
	Unspecified       = "exception"

	mediaType     = "media_type_header_exception"
	notAcceptable = "status_exception"
)

// An Error is an answer that says what is wrong.
type Error struct {
	Status       int
	Type, Reason string
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// Illegal returns the error for a request that is wrong by itself.
func Illegal(reason string) *Error {
	return &Error{http.StatusBadRequest, IllegalArgument, reason}
}

// Denied returns the error for a caller without one of the privileges.
func Denied(action, caller string, privileges ...string) *Error {
	return &Error{http.StatusForbidden, SecurityException, "action " + Bracket(action) + " is unauthorized for " + caller +
		", this action is granted by the cluster privileges " + Bracket(strings.Join(privileges, ","))}
}

// RunAs returns the user as whom the sender of a request asks to act, and reports whether
// it asks so. Several names are joined by commas, which is the name of nobody.
func RunAs(r *http.Request) (name string, asked bool) {
	values, asked := r.Header["Es-Security-Runas-User"]
	if !asked {
		return "", false
	}
	return strings.Join(values, ","), true
}

// RunAsDenied returns the error for a caller who may not act as that user.
func RunAsDenied(action, caller, name string) *Error {
	return &Error{http.StatusForbidden, SecurityException, "action " + Bracket(action) + " is unauthorized for " + caller +
		", which is unauthorized to run as " + Bracket(name)}
}

// Challenges returns what a client may authenticate with by default (RFC 9110, section
// 11.6.1): basic credentials, and bearers.
func Challenges(realm string) []string {
	return []string{`Basic realm="` + realm + `", charset="UTF-8"`, `Bearer realm="` + realm + `"`}
}

type cause struct {
	Type         string              `json:"type"`
	Reason       string              `json:"reason"`
	Unsuccessful string              `json:"additional_unsuccessful_credentials,omitempty"`
	Header       map[string][]string `json:"header,omitempty"`
}

type errorBody struct {
	Error struct {
		RootCause []cause `json:"root_cause"`
		cause
	} `json:"error"`
	Status int `json:"status"`
}

// Fail answers with an error.
func Fail(w http.ResponseWriter, r *http.Request, err *Error) {
	fail(w, r, err.Status, cause{Type: err.Type, Reason: err.Reason})
}

// Unauthorized answers a request whose credentials are missing, wrong, or of no use
// here. The challenges name the schemes that are taken. User is how the answer names the
// user whose basic credentials were refused; empty: as the request does.
func Unauthorized(w http.ResponseWriter, r *http.Request, challenges []string, user string) {
	c := refusal(r, challenges, user)
	w.Header()["Www-Authenticate"] = challenges
	c.Header = map[string][]string{"WWW-Authenticate": challenges}
	fail(w, r, http.StatusUnauthorized, c)
}

// refusal says what is wrong with the credentials, by their kind: which rule refused them
// is not a client's business.
func refusal(r *http.Request, challenges []string, user string) cause {
	sent := ReadCredentials(r)
	takesBearers := slices.ContainsFunc(challenges, func(c string) bool {
		scheme, _, _ := strings.Cut(c, " ")
		return strings.EqualFold(scheme, "Bearer")
	})
	c := cause{Type: SecurityException}
	switch {
	case sent.Kind == NoCredentials:
		c.Reason = "missing authentication credentials for REST request " + Bracket(r.URL.Path)
	case sent.Kind == Basic:
		c.Reason = "unable to authenticate user " + Bracket(cmp.Or(user, sent.Name)) + " for REST request " + Bracket(r.URL.Path)
	case sent.Kind == ServiceToken && takesBearers:
		account, name, _ := cutLast(sent.Name, "/")
		c.Reason = "failed to authenticate service account " + Bracket(account) + " with token name " + Bracket(name)
	default:
		c.Reason, c.Unsuccessful = unusable, sent.Kind.unsuccessful()
	}
	return c
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// CannotTell answers a request whose sender cannot be told at present. It says when to
// try again if the error knows, and nothing else of it.
func CannotTell(w http.ResponseWriter, r *http.Request, err error) {
	if e, ok := errors.AsType[*tokencache.NoAnswerError](err); ok && e.RetryAfter > 0 {
		RetryAfter(w, e.RetryAfter)
	}
	fail(w, r, http.StatusServiceUnavailable, cause{Type: SecurityException, Reason: "the user cannot be authenticated at present"})
}

// RetryAfter tells the client when to try again, in whole seconds.
func RetryAfter(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Retry-After", strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10))
}

func fail(w http.ResponseWriter, r *http.Request, status int, c cause) {
	leaveBody(w, r)
	write(w, r, status, newErrorBody(status, c), "")
}

func newErrorBody(status int, c cause) errorBody {
	body := errorBody{Status: status}
	body.Error.cause, body.Error.RootCause = c, []cause{c}
	return body
}

// ErrorBody returns the body with which Fail answers, for a request that no handler is
// called for.
func ErrorBody(err *Error) []byte {
	b, wrong := json.Marshal(newErrorBody(err.Status, cause{Type: err.Type, Reason: err.Reason}))
	if wrong != nil {
		panic(wrong) // of this module's own values: a mistake in the code
	}
	return b
}

// leaveBody sees to it that an answer does not wait for a body which nobody will
// read: the server would read on to use the connection again.
func leaveBody(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.ContentLength == 0 {
		return
	}
	if r.ProtoMajor == 1 { // later ones end the stream by themselves
		w.Header().Set("Connection", "close")
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // if the server can
}

// Reply answers with a body, as far as the request's filter_path lets it through.
func Reply(w http.ResponseWriter, r *http.Request, status int, body any) {
	write(w, r, status, body, r.URL.Query().Get(filterPath))
}

// write writes the body in the form that the client accepts.
func write(w http.ResponseWriter, r *http.Request, status int, body any, filter string) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // of this module's own values: a mistake in the code
	}
	b = apply(filter, b)
	if on, err := flag(r.URL.Query(), "pretty"); on && err == nil {
		b = pretty(b)
	}
	echo(w, r)
	w.Header().Set("Content-Type", contentType(r))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(b)
}

func pretty(b json.RawMessage) []byte {
	indented, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		panic(err) // of what was just marshalled
	}
	return append(indented, '\n')
}

// echo repeats the id by which the client finds the answer to a request.
func echo(w http.ResponseWriter, r *http.Request) {
	const header = "X-Opaque-Id"
	if id := r.Header.Get(header); id != "" {
		w.Header().Set(header, Redact(id))
	}
}

// Plain returns an error's text without the names of this module's packages, which
// stand in front.
func Plain(err error) string {
	text := err.Error()
	for {
		room, rest, ok := strings.Cut(text, ": ")
		if !ok || !slices.Contains(rooms, room) {
			return text
		}
		text = rest
	}
}

var rooms = []string{"tokencache", "filesource", "indexsource", "sqlindex", "evict", "fleet", "fleetnats", "fleetsql"}
