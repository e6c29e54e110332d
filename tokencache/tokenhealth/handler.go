package tokenhealth

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// A Handler answers whether the process is alive, and whether it is ready. [New] makes
// one. It is safe for concurrent use by multiple goroutines.
type Handler struct {
	askers   []*asker
	shutDown atomic.Bool
}

// New returns a handler that is ready if all checks say so.
func New(checks ...Check) *Handler {
	h := &Handler{}
	for _, check := range checks {
		h.askers = append(h.askers, &asker{check: check})
	}
	return h
}

// ShutDown makes the handler not ready from now on. A server calls it some seconds
// before it stops listening, so that load balancers learn of it in time.
func (h *Handler) ShutDown() { h.shutDown.Store(true) }

// Reasons returns why the process should get no requests at present, in the order of the
// checks, each with the check's name. None: it is ready. It waits for the answers of the
// checks, a second at most.
func (h *Handler) Reasons() []string {
	if h.shutDown.Load() {
		return []string{"shutting down"}
	}
	answers := make([]error, len(h.askers))
	var asking sync.WaitGroup
	for i, asker := range h.askers {
		asking.Go(func() { answers[i] = asker.ask() })
	}
	asking.Wait()
	var reasons []string
	for i, err := range answers {
		if err != nil {
			reasons = append(reasons, h.askers[i].check.Name+": "+err.Error())
		}
	}
	return reasons
}

// ServeHTTP answers GET and HEAD.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	if strings.HasSuffix(strings.TrimRight(r.URL.Path, "/"), "/live") {
		write(w, http.StatusOK, answer{Status: "live"})
		return
	}
	if reasons := h.Reasons(); len(reasons) > 0 {
		write(w, http.StatusServiceUnavailable, answer{"not ready", reasons})
		return
	}
	write(w, http.StatusOK, answer{Status: "ready"})
}

type answer struct {
	Status  string   `json:"status"`
	Reasons []string `json:"reasons,omitempty"`
}

func write(w http.ResponseWriter, status int, body answer) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings only: a mistake in the code
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}
