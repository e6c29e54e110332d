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

// Illegal returns the error for a request that is malformed.
func Illegal(reason string) *Error {
	return &Error{http.StatusBadRequest, IllegalArgument, reason}
}

// Denied returns the error for a caller without one of the privileges.
func Denied(action, caller string, privileges ...string) *Error {
	return &Error{http.StatusForbidden, SecurityException, "action " + Bracket(action) + " is unauthorized for " + caller +
		", this action is granted by the cluster privileges " + Bracket(strings.Join(privileges, ","))}
}

// RunAs returns the name of the user that the sender of a request asks to act as, and
// reports whether it asks for that. Several names are joined by commas, which is no
// user's name.
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

// Challenges returns the default challenges (RFC 9110, section 11.6.1): for basic
// credentials, and for bearers.
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

// Unauthorized answers a request whose credentials are missing, wrong, or of a scheme
// that is not accepted here. The challenges name the accepted schemes. User is the
// answer's name for the user whose basic credentials were refused; empty: the name in the
// request.
func Unauthorized(w http.ResponseWriter, r *http.Request, challenges []string, user string) {
	c := refusal(r, challenges, user)
	w.Header()["Www-Authenticate"] = challenges
	c.Header = map[string][]string{"WWW-Authenticate": challenges}
	fail(w, r, http.StatusUnauthorized, c)
}

// refusal says what is wrong with the credentials, by their kind. It does not say which
// rule refused them: that would help an attacker.
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

// CannotTell answers a request whose sender cannot be authenticated at present. Of the
// error it tells only when to try again, if that is known.
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

// ErrorBody returns the body of Fail's answer, for a request that reaches no handler.
func ErrorBody(err *Error) []byte {
	b, wrong := json.Marshal(newErrorBody(err.Status, cause{Type: err.Type, Reason: err.Reason}))
	if wrong != nil {
		panic(wrong) // the values are this module's own: a mistake in the code
	}
	return b
}

// leaveBody makes an answer not wait for a body that no handler reads: the server would
// read it, to use the connection again.
func leaveBody(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.ContentLength == 0 {
		return
	}
	if r.ProtoMajor == 1 { // later versions end the stream by themselves
		w.Header().Set("Connection", "close")
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // if the server supports it
}

// Reply answers with the part of a body that the request's filter_path selects.
func Reply(w http.ResponseWriter, r *http.Request, status int, body any) {
	write(w, r, status, body, r.URL.Query().Get(filterPath))
}

// write writes the body in the form that the client accepts.
func write(w http.ResponseWriter, r *http.Request, status int, body any, filter string) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // the values are this module's own: a mistake in the code
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
		panic(err) // the value was just marshalled
	}
	return append(indented, '\n')
}

// echo repeats the id by which the client matches the answer with its request.
func echo(w http.ResponseWriter, r *http.Request) {
	const header = "X-Opaque-Id"
	if id := r.Header.Get(header); id != "" {
		w.Header().Set(header, Redact(id))
	}
}

// Plain returns an error's text without the names of this module's packages at its
// beginning.
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
