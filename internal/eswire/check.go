package eswire

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The query parameters that every route takes. The flags are booleans; human and
// error_trace change nothing here: there are no figures for humans, and no stack traces.
const (
	filterPath = "filter_path"
	format     = "format"
)

// maxFilterPath bounds what a filter_path can cost, which grows with its length times
// the body's. Elasticsearch takes 4 KiB for all of a request's first line
// (http.max_initial_line_length).
const maxFilterPath = 4 << 10

var flags = []string{"error_trace", "human", "pretty"}

// Check returns what is wrong with a request, or nil. The request must have no body, and
// no query parameters except these and those that every route takes.
func Check(w http.ResponseWriter, r *http.Request, params ...string) *Error {
	if err := CheckQuery(r, params...); err != nil {
		return err
	}
	if err := checkAccept(r); err != nil {
		return err
	}
	return checkNoBody(w, r)
}

// CheckQuery is Check for the query alone, for a route that Elasticsearch does not have.
func CheckQuery(r *http.Request, params ...string) *Error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Illegal("the query of request " + Bracket(r.URL.Path) + " is malformed")
	}
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if name != filterPath && name != format && !slices.Contains(flags, name) && !slices.Contains(params, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return unrecognized(r.URL.Path, unknown)
	}
	for _, name := range flags {
		if _, err := flag(query, name); err != nil {
			return err
		}
	}
	if n := len(query.Get(filterPath)); n > maxFilterPath {
		return Illegal(fmt.Sprintf("filter_path has %d bytes, and may have %d", n, maxFilterPath))
	}
	switch got := query.Get(format); got {
	case "", "json":
		return nil
	default:
		return &Error{http.StatusNotAcceptable, notAcceptable, "format " + Bracket(got) + " is not supported, only [json] is"}
	}
}

func unrecognized(path string, names []string) *Error {
	plural := ""
	if len(names) > 1 {
		plural = "s"
	}
	const few = 10 // so many are listed: the reason must stay short
	shown := make([]string, min(len(names), few))
	for i := range shown {
		shown[i] = Bracket(names[i])
	}
	return Illegal("request " + Bracket(path) + " contains unrecognized parameter" + plural + ": " + strings.Join(shown, ", "))
}

// flag returns a boolean parameter; a name without a value means true.
func flag(query url.Values, name string) (bool, *Error) {
	if !query.Has(name) {
		return false, nil
	}
	switch value := query.Get(name); value {
	case "", "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, Illegal("Failed to parse value " + Bracket(value) + " as only [true] or [false] are allowed.")
	}
}

// versions are those of the API in which answers can be written.
var versions = []string{"8", "9"}

const (
	jsonType   = "application/json"
	vendorType = "application/vnd.elasticsearch+json"
	vendor     = "application/vnd.elasticsearch+"
	compatible = "compatible-with"
)

// otherFormats are those that Elasticsearch offers but this package does not.
var otherFormats = []string{"application/yaml", "application/cbor", "application/smile", vendor + "yaml", vendor + "cbor", vendor + "smile"}

// checkAccept checks a single media type. A list is only a preference, and JSON always
// satisfies it.
func checkAccept(r *http.Request) *Error {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if accept == "" || strings.Contains(accept, ",") {
		return nil
	}
	kind, params, err := mime.ParseMediaType(accept)
	version, versioned := params[compatible]
	switch {
	case err != nil || versioned && !slices.Contains(versions, version):
		return &Error{http.StatusBadRequest, mediaType, "Invalid media-type value on headers [Accept]"}
	case slices.Contains(otherFormats, kind):
		return &Error{http.StatusNotAcceptable, notAcceptable, "Accept header " + Bracket(accept) + " is not supported"}
	}
	return nil
}

// contentType returns the vendor's type, in the version of the API that the client asks
// for, if it asks for that type, and plain JSON otherwise.
func contentType(r *http.Request) string {
	for accept := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, params, err := mime.ParseMediaType(accept)
		if version := params[compatible]; err == nil && kind == vendorType && slices.Contains(versions, version) {
			return vendorType + ";" + compatible + "=" + version
		}
	}
	return jsonType
}

// bodyTimeout is how long a body without a length may take to turn out empty.
const bodyTimeout = 5 * time.Second

// checkNoBody checks the length first: a client that announces a body may never send it.
// Without a length it has to read.
func checkNoBody(w http.ResponseWriter, r *http.Request) *Error {
	if r.Body == nil || r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength < 0 {
		control := http.NewResponseController(w)
		control.SetReadDeadline(time.Now().Add(bodyTimeout)) // if the server can
		defer control.SetReadDeadline(time.Time{})
		var b [1]byte
		switch n, err := io.ReadFull(r.Body, b[:]); {
		case n == 0 && errors.Is(err, io.EOF):
			return nil
		case n == 0:
			return Illegal("the body of request " + Bracket(r.Method+" "+r.URL.Path) + " cannot be read")
		}
	}
	return Illegal("request " + Bracket(r.Method+" "+r.URL.Path) + " does not support having a body")
}
