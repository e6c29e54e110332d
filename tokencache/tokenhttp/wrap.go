package tokenhttp

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// Config holds the options of [Wrap]. The zero value is the recommended production
// setting of a server that takes service tokens only.
type Config struct {
	// Other gets the requests that have no service token: none at all, or
	// credentials of another scheme or form. It has to authenticate them by itself.
	// Nil: they get 401.
	Other http.Handler

	// Challenges are further values of the WWW-Authenticate header, for the schemes
	// that Other takes: `Basic realm="security"` for example. They come before the
	// challenge for Bearer.
	Challenges []string

	// Realm is the realm of the challenge for Bearer. It must have no quotes and no
	// backslashes. Empty: security.
	Realm string

	// KeepHeader lets the wrapped handler see the Authorization header of requests
	// that were confirmed: for proxies that send it on. It also saves a copy of the
	// request's headers, two of the three allocations of a request.
	KeepHeader bool

	// Answer writes the response to a request that was turned away with this status: 400,
	// 401 or 503. The headers WWW-Authenticate and Retry-After are set by then. The error
	// is for the host's log: it has no secret, but says too much for a client. Nil: the
	// status in plain text.
	Answer func(w http.ResponseWriter, r *http.Request, status int, err error)
}

var errHeaders = errors.New("tokenhttp: more than one Authorization header")

// An Authenticator judges an Authorization header, as tokencache.Group.Authenticate does.
// It is a *tokencache.Group, or something that wraps one, such as a tokenotel.Traced. It
// must be safe for concurrent use by multiple goroutines.
type Authenticator interface {
	Authenticate(ctx context.Context, authorization string) (tokencache.Verdict[any], error)
}

var _ Authenticator = (*tokencache.Group)(nil)

// Wrap returns a handler that passes a request on to next if its Authorization header has
// a token which the group confirms; then [Verdict] finds the verdict in the request's
// context. The package's documentation says what happens to others.
func Wrap(group Authenticator, next http.Handler, cfg Config) http.Handler {
	m := &middleware{group: group, next: next, cfg: cfg}
	if m.cfg.Realm == "" {
		m.cfg.Realm = "security"
	}
	if m.cfg.Answer == nil {
		m.cfg.Answer = answer
	}
	return m
}

func answer(w http.ResponseWriter, _ *http.Request, status int, _ error) {
	http.Error(w, http.StatusText(status), status)
}

type middleware struct {
	group Authenticator
	next  http.Handler
	cfg   Config
}

func (m *middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	values := r.Header["Authorization"]
	if len(values) > 1 {
		// A proxy may have checked another of them than this server would.
		m.cfg.Answer(w, r, http.StatusBadRequest, errHeaders)
		return
	}
	verdict, err := m.group.Authenticate(r.Context(), r.Header.Get("Authorization"))
	switch {
	case err == nil:
		m.next.ServeHTTP(w, m.confirmed(r, verdict))
	case errors.Is(err, tokencache.ErrNotServiceToken) && m.cfg.Other != nil:
		m.cfg.Other.ServeHTTP(w, r)
	case errors.Is(err, tokencache.ErrNotServiceToken):
		m.unauthorized(w, r, "", err)
	case errors.Is(err, tokencache.ErrRefused):
		m.unauthorized(w, r, `, error="invalid_token"`, err)
	default:
		w.Header().Set("Retry-After", retryAfter(err))
		m.cfg.Answer(w, r, http.StatusServiceUnavailable, err)
	}
}

// confirmed returns the request for the wrapped handler, with the verdict in its context.
// Both are in one piece of memory: each hit pays for it.
func (m *middleware) confirmed(r *http.Request, verdict tokencache.Verdict[any]) *http.Request {
	c := &struct {
		request http.Request
		ctx     verdictContext
	}{ctx: verdictContext{r.Context(), verdict}}
	c.request = *r.WithContext(&c.ctx) // the intermediate copy stays on the stack
	if !m.cfg.KeepHeader {
		c.request.Header = withoutAuthorization(r.Header)
	}
	return &c.request
}

// withoutAuthorization copies the map, which is the server's. maps.Clone copies it as it
// is laid out, and takes longer.
func withoutAuthorization(header http.Header) http.Header {
	rest := make(http.Header, len(header)-1)
	for name, values := range header {
		if name != "Authorization" {
			rest[name] = values
		}
	}
	return rest
}

func (m *middleware) unauthorized(w http.ResponseWriter, r *http.Request, detail string, err error) {
	for _, challenge := range m.cfg.Challenges {
		w.Header().Add("WWW-Authenticate", challenge)
	}
	w.Header().Add("WWW-Authenticate", `Bearer realm="`+m.cfg.Realm+`"`+detail)
	m.cfg.Answer(w, r, http.StatusUnauthorized, err)
}

// retryAfter returns the value of the header: whole seconds, at least one.
func retryAfter(err error) string {
	var wait time.Duration
	if e, ok := errors.AsType[*tokencache.NoAnswerError](err); ok {
		wait = e.RetryAfter
	}
	return strconv.Itoa(max(1, int((wait+time.Second-1)/time.Second)))
}
