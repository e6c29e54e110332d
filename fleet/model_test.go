package fleet_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// This file is the promise, as a check of recorded histories. Instants are increasing
// numbers: of two events, the one with the greater number came later.

// A changeOp is an eviction, or a change of a document, that was asked for.
type changeOp struct {
	call, ret int64 // ret 0: it did not return, or returned an error
	key       string
	all       bool // it selects every key
	document  int  // the version that it wrote; 0: an eviction
	mark      int  // below zero: the mark by which logs has this eviction; 0: it is not in them
	lost      bool // the log was rolled back to before it
}

func (c changeOp) selects(a authOp) bool {
	return (c.all || c.key == a.key) && (c.document == 0 || a.source == "index")
}

// An authOp is an authentication that got a verdict.
type authOp struct {
	start   int64
	node    int
	key     string
	source  string // "file" or "index"
	read    int64  // when the source read behind the verdict began
	version int    // of the document; 0: absent
	hit     bool
	at      time.Duration
}

// A history is what happened in one run.
type history struct {
	changes []changeOp
	auths   []authOp
	// logs are the document versions of each key, and the marks of evictions among
	// them, in the order of the log, for each log that there was, the oldest first.
	logs []map[string][]int
	// replaced is the instant at which the log was made anew: earlier documents may be
	// gone.
	replaced []int64
}

// violations returns the verdicts that break the promise. The authentication started
// after a change had returned, and its verdict derives from a source read that began
// before the change was called, or shows a document that is too old: older than the one
// that was written, or than one that the log had before the eviction, whether that was
// confirmed or not.
func (h *history) violations() []string {
	var found []string
	for _, c := range h.changes {
		if c.ret == 0 || c.lost {
			continue
		}
		for _, a := range h.auths {
			if a.start < c.ret || !c.selects(a) {
				continue
			}
			if a.read < c.call {
				found = append(found, fmt.Sprintf("node %d answered for %s from %s as read at %d (hit %v, started %d, %v); change %+v", a.node, a.key, a.source, a.read, a.hit, a.start, a.at, c))
			} else if (c.document != 0 || c.mark != 0 && a.source == "index") && h.older(a, c) {
				found = append(found, fmt.Sprintf("node %d answered for %s with version %d (hit %v, started %d, %v); change %+v", a.node, a.key, a.version, a.hit, a.start, a.at, c))
			}
		}
	}
	return found
}

// older reports whether the verdict shows a document from before the change.
func (h *history) older(a authOp, c changeOp) bool {
	if c.document != 0 && a.version == c.document {
		return false
	}
	for _, at := range h.replaced {
		if c.call < at {
			return false // the document may have gone with its log
		}
	}
	for _, log := range h.logs {
		got, wrote := index(log[a.key], a.version), h.wrote(log[a.key], c)
		if got >= 0 && wrote >= 0 {
			return got < wrote
		}
	}
	return a.version == 0 && (c.document != 0 || slices.ContainsFunc(h.logs, func(log map[string][]int) bool { return h.wrote(log[a.key], c) >= 0 }))
}

// wrote returns the place of the document that was in force with the change: the one that
// it wrote, or the last one before the eviction. Below zero: there is none.
func (h *history) wrote(versions []int, c changeOp) int {
	if c.document != 0 {
		return index(versions, c.document)
	}
	at := index(versions, c.mark)
	for at >= 0 && versions[at] < 0 {
		at--
	}
	return at
}

func index(versions []int, v int) int {
	for i, version := range versions {
		if version == v {
			return i
		}
	}
	return -1
}

func TestModel(t *testing.T) {
	evict := changeOp{call: 10, ret: 20, key: "t0"}
	put := changeOp{call: 10, ret: 20, key: "t0", document: 2}
	all := changeOp{call: 10, ret: 20, all: true}
	logs := []map[string][]int{{"t0": {1, 2, 3}}}
	marked := changeOp{call: 10, ret: 20, key: "t0", mark: -7}
	marks := []map[string][]int{{"t0": {1, 2, -6, -7, 3}}}
	auth := func(start, read int64, source string, version int) authOp {
		return authOp{start: start, read: read, source: source, key: "t0", version: version}
	}
	for _, tt := range []struct {
		name   string
		change changeOp
		auth   authOp
		h      history
		want   int
	}{
		{"from memory, read before", evict, auth(21, 9, "file", 0), history{}, 1},
		{"read before, index", evict, auth(21, 9, "index", 0), history{}, 1},
		{"read after the call", evict, auth(21, 11, "file", 0), history{}, 0},
		{"started before the return", evict, auth(19, 9, "file", 0), history{}, 0},
		{"another key", evict, authOp{start: 21, read: 9, key: "t1", source: "file"}, history{}, 0},
		{"all keys", all, authOp{start: 21, read: 9, key: "t1", source: "file"}, history{}, 1},
		{"a change that did not return", changeOp{call: 10, key: "t0"}, auth(21, 9, "file", 0), history{}, 0},
		{"a change that was rolled back", changeOp{call: 10, ret: 20, key: "t0", lost: true}, auth(21, 9, "file", 0), history{}, 0},
		{"a document does not concern the file", put, auth(21, 9, "file", 0), history{}, 0},
		{"the old document, read after the call", put, auth(21, 15, "index", 1), history{logs: logs}, 1},
		{"its own document", put, auth(21, 15, "index", 2), history{logs: logs}, 0},
		{"a later document", put, auth(21, 15, "index", 3), history{logs: logs}, 0},
		{"no document", put, auth(21, 15, "index", 0), history{logs: logs}, 1},
		{"a document from before the eviction", marked, auth(21, 15, "index", 1), history{logs: marks}, 1},
		{"the document before the eviction", marked, auth(21, 15, "index", 2), history{logs: marks}, 0},
		{"a document from after the eviction", marked, auth(21, 15, "index", 3), history{logs: marks}, 0},
		{"no document, and one before the eviction", marked, auth(21, 15, "index", 0), history{logs: marks}, 1},
		{"no document before the eviction either", marked, auth(21, 15, "index", 0), history{logs: []map[string][]int{{"t0": {-7, 1}}}}, 0},
		{"an eviction that no log has", marked, auth(21, 15, "index", 1), history{logs: logs}, 0},
		{"a file's verdict after a document", marked, auth(21, 15, "file", 0), history{logs: marks}, 0},
		{"no document in a new log", put, auth(40, 35, "index", 0), history{logs: logs, replaced: []int64{30}}, 0},
		{"an old document in the log that was new before", put, auth(40, 35, "index", 1), history{logs: logs, replaced: []int64{5}}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := tt.h
			h.changes, h.auths = []changeOp{tt.change}, []authOp{tt.auth}
			if got := h.violations(); len(got) != tt.want {
				t.Errorf("violations: %q, want %d", got, tt.want)
			}
		})
	}
}
