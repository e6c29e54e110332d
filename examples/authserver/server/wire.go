package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
)

// This file is how answers look: in the shapes that Elasticsearch's clients read.

type object map[string]any

const vendorType = "application/vnd.elasticsearch+json"

// reply answers with JSON, under the vendor's name for it where the client asks
// for that.
func reply(w http.ResponseWriter, r *http.Request, status int, body object) {
	contentType := "application/json"
	for _, version := range []string{"8", "9"} {
		accept := strings.ReplaceAll(r.Header.Get("Accept"), " ", "")
		if strings.Contains(accept, vendorType+";compatible-with="+version) {
			contentType = vendorType + ";compatible-with=" + version
		}
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	if query := r.URL.Query(); query.Has("pretty") && query.Get("pretty") != "false" {
		encoder.SetIndent("", "  ")
	}
	encoder.Encode(body)
}

func fail(w http.ResponseWriter, r *http.Request, status int, kind, reason string) {
	failWith(w, r, status, object{"type": kind, "reason": reason})
}

func failWith(w http.ResponseWriter, r *http.Request, status int, cause object) {
	err := object{"root_cause": []object{cause}}
	maps.Copy(err, cause)
	reply(w, r, status, object{"error": err, "status": status})
}

// unauthorized says that the credentials are missing or wrong, and which ones there
// are.
func unauthorized(w http.ResponseWriter, r *http.Request, reason string) {
	challenges := []string{`Basic realm="security", charset="UTF-8"`, `Bearer realm="security"`}
	w.Header()["Www-Authenticate"] = challenges
	failWith(w, r, http.StatusUnauthorized, object{
		"type": "security_exception", "reason": reason, "header": object{"WWW-Authenticate": challenges},
	})
}

// shaped serves the mux, and gives its own errors, 404 and 405, the shape of the
// others.
func shaped(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		plain := plainError{header: http.Header{}}
		handler.ServeHTTP(&plain, r)
		if plain.status == http.StatusMethodNotAllowed {
			w.Header()["Allow"] = plain.header["Allow"]
			fail(w, r, plain.status, "illegal_argument_exception", fmt.Sprintf("method %q is not allowed here, allowed: %s", r.Method, plain.header["Allow"]))
			return
		}
		fail(w, r, http.StatusNotFound, "resource_not_found_exception", fmt.Sprintf("no handler for path %q", r.URL.Path))
	})
}

// A plainError keeps the status and the header of an answer, and drops its text.
type plainError struct {
	header http.Header
	status int
}

func (p *plainError) Header() http.Header         { return p.header }
func (p *plainError) Write(b []byte) (int, error) { return len(b), nil }
func (p *plainError) WriteHeader(status int)      { p.status = status }
