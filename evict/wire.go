package evict

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/svctoken/svctoken/internal/quote"
)

// This file is the wire form: how Elasticsearch writes answers and errors.

const (
	illegalArgument   = "illegal_argument_exception"
	securityException = "security_exception"

	jsonType   = "application/json"
	vendorType = "application/vnd.elasticsearch+json"
)

// challenges are what a client may authenticate with (RFC 9110, section 11.6.1).
var challenges = []string{`Basic realm="security", charset="UTF-8"`, `Bearer realm="security"`}

// commonParameters are the query parameters that every route of the reference
// takes. pretty indents the answer; the others have nothing to act on here: there
// are no figures to write for humans, and no stack traces.
var commonParameters = []string{"pretty", "human", "error_trace"}

type clearBody struct {
	Nodes   nodesBody           `json:"_nodes"`
	Cluster string              `json:"cluster_name"`
	ByID    map[string]nodeName `json:"nodes"`
}

type nodesBody struct {
	Total      int           `json:"total"`
	Successful int           `json:"successful"`
	Failed     int           `json:"failed"`
	Failures   []failureBody `json:"failures,omitempty"`
}

type nodeName struct {
	Name string `json:"name"`
}

type failureBody struct {
	Type     string    `json:"type"`
	Reason   string    `json:"reason"`
	NodeID   string    `json:"node_id"`
	CausedBy causeBody `json:"caused_by"`
}

type causeBody struct {
	Type   string              `json:"type"`
	Reason string              `json:"reason"`
	Header map[string][]string `json:"header,omitempty"`
}

type errorBody struct {
	Error  rootBody `json:"error"`
	Status int      `json:"status"`
}

type rootBody struct {
	RootCause []causeBody `json:"root_cause"`
	causeBody
}

// body returns the answer for an eviction here, which has succeeded, and on the
// report's other nodes.
func (h *Handler) body(report Report) clearBody {
	body := clearBody{Cluster: h.cfg.ClusterName, ByID: map[string]nodeName{h.cfg.NodeID: {h.cfg.NodeName}}}
	for _, node := range report.Nodes {
		if node.Err == nil {
			body.ByID[node.ID] = nodeName{node.Name}
			continue
		}
		body.Nodes.Failures = append(body.Nodes.Failures, failureBody{
			Type: "failed_node_exception", Reason: fmt.Sprintf("node [%s] failed", node.ID), NodeID: node.ID,
			CausedBy: causeBody{Type: "exception", Reason: node.Err.Error()},
		})
	}
	body.Nodes.Total = 1 + len(report.Nodes)
	body.Nodes.Failed = len(body.Nodes.Failures)
	body.Nodes.Successful = body.Nodes.Total - body.Nodes.Failed
	return body
}

// A response writes one answer.
type response struct {
	http.ResponseWriter
	r     *http.Request
	extra http.Header
}

func (w response) fail(status int, kind, reason string) {
	w.error(status, causeBody{Type: kind, Reason: reason})
}

func (w response) unauthorized(r *http.Request) {
	reason := "missing authentication credentials"
	if r.Header.Get("Authorization") != "" {
		reason = "unable to authenticate with the given credentials"
	}
	for _, challenge := range challenges {
		w.Header().Add("WWW-Authenticate", challenge)
	}
	w.error(http.StatusUnauthorized, causeBody{
		Type: securityException, Reason: reason + fmt.Sprintf(" for path %s", quote.Short(r.URL.Path)),
		Header: map[string][]string{"WWW-Authenticate": challenges},
	})
}

func (w response) error(status int, cause causeBody) {
	w.json(status, errorBody{rootBody{[]causeBody{cause}, cause}, status})
}

// json writes the body in the form that the client accepts.
func (w response) json(status int, body any) {
	header := w.Header()
	for name, values := range w.extra {
		header[name] = append(header[name], values...)
	}
	header.Set("Content-Type", contentType(w.r))
	header.Set("X-Content-Type-Options", "nosniff")
	var b []byte
	if pretty := w.r.URL.Query(); pretty.Has("pretty") && pretty.Get("pretty") != "false" {
		b, _ = json.MarshalIndent(body, "", "  ") // of strings and numbers: cannot fail
		b = append(b, '\n')
	} else {
		b, _ = json.Marshal(body)
	}
	w.WriteHeader(status)
	w.Write(b)
}

// contentType returns the vendor's type where the client asks for it, in the
// version of the API that it asks for, and plain JSON otherwise.
func contentType(r *http.Request) string {
	for accept := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, params, err := mime.ParseMediaType(accept)
		if version := params["compatible-with"]; err == nil && kind == vendorType && (version == "8" || version == "9") {
			return vendorType + ";compatible-with=" + version
		}
	}
	return jsonType
}
