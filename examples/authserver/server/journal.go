package server

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/internal/eswire"
)

// A journal remembers the callers' last deeds and the last failed logins, and counts the
// entries that all evictions have removed. The zero journal is empty.
type journal struct {
	mu      sync.Mutex                      // guards the fields below
	number  int                             // of the last deed
	recent  []deed                          // newest first
	logins  *simplelru.LRU[loginID, *login] // nil: there are none
	evicted map[string]int
}

// A deed is an eviction, or a token's creation or deletion.
type deed struct {
	Number int // from 1
	Time   time.Time
	User   string
	Verb   string        // evicted, created or deleted
	What   string        // a selector, or a token
	Report *evict.Report // of an eviction
}

// A login counts the failed logins with one name, or one kind of credentials, from one
// address.
type login struct {
	Time  time.Time // of the last
	Count int
	loginID
}

// A loginID is the key under which failed logins are counted.
type loginID struct {
	Name string // as it may be shown; empty: it cannot be read
	Kind eswire.Kind
	From string
}

// Who returns the name that was tried, or the kind of the credentials.
func (l login) Who() string {
	if l.Name != "" {
		return l.Name
	}
	return "(" + string(l.Kind) + ")"
}

const (
	journalLength = 20
	mostLogins    = 1000 // kinds of failed logins that are counted
	mostNames     = 20   // of one address; others are counted as one
)

func (j *journal) add(d deed) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.number++
	d.Number, d.Time = j.number, time.Now()
	j.recent = slices.Insert(j.recent, 0, d)
	j.recent = j.recent[:min(len(j.recent), journalLength)]
	if d.Report == nil {
		return d.Number
	}
	if j.evicted == nil {
		j.evicted = make(map[string]int)
	}
	for cache, n := range d.Report.Evicted {
		j.evicted[cache] += n
	}
	return d.Number
}

// addLogin counts a failed login, and returns the count and its key. Of one address it
// tells only so many names apart, so that nobody can push out everybody else's.
func (j *journal) addLogin(id loginID) (int, loginID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.logins == nil {
		j.logins, _ = simplelru.NewLRU[loginID, *login](mostLogins, nil) // the size is positive
	}
	l, ok := j.logins.Get(id)
	if !ok && j.namesLocked(id.From) >= mostNames {
		id.Name = "others"
		l, ok = j.logins.Get(id)
	}
	if !ok {
		l = &login{loginID: id}
		j.logins.Add(id, l)
	}
	l.Time = time.Now()
	l.Count++
	return l.Count, id
}

// namesLocked returns how many kinds of failed logins there are from an address.
func (j *journal) namesLocked(from string) int {
	n := 0
	for _, id := range j.logins.Keys() {
		if id.From == from {
			n++
		}
	}
	return n
}

// recentLoginsLocked returns the last ones, newest first.
func (j *journal) recentLoginsLocked() []login {
	if j.logins == nil {
		return nil
	}
	var recent []login
	for _, l := range slices.Backward(j.logins.Values()) {
		if recent = append(recent, *l); len(recent) == journalLength {
			break
		}
	}
	return recent
}

// A record is a journal's content at one instant.
type record struct {
	Deeds   []deed         // newest first
	Logins  []login        // newest first
	evicted map[string]int // how many entries went from each cache in all evictions
}

func (j *journal) read() record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return record{slices.Clone(j.recent), j.recentLoginsLocked(), maps.Clone(j.evicted)}
}

// failedLogin records credentials that were refused. A request without any is a browser's
// first, and does not count. Of many of one kind, it logs the first, the tenth, the
// hundredth and so on, and of all kinds only so many a second, so that an attack does not
// fill the disk.
func (s *server) failedLogin(r *http.Request) {
	sent := eswire.ReadCredentials(r)
	if sent.Kind == eswire.NoCredentials {
		return
	}
	count, id := s.journal.addLogin(loginID{s.shownName(sent), sent.Kind, s.proxies.client(r)})
	if !isPowerOfTen(count) {
		return
	}
	ok, unlogged := s.loginLines.allow()
	if !ok {
		return
	}
	attrs := []any{"from", id.From, "failures", count, "kind", string(id.Kind)}
	if id.Name != "" {
		attrs = append([]any{"name", id.Name}, attrs...)
	}
	if unlogged > 0 {
		attrs = append(attrs, "unlogged", unlogged)
	}
	s.logger.WarnContext(r.Context(), "login failed", attrs...)
}

// shownName returns the name in refused credentials, as far as it may be shown: a name
// that no user has may be a password.
func (s *server) shownName(sent eswire.Credentials) string {
	if sent.Kind == eswire.Basic && !s.users.known(sent.Name) {
		return eswire.Shorten(sent.Name)
	}
	return eswire.Redact(sent.Name)
}

func isPowerOfTen(n int) bool {
	for n >= 10 && n%10 == 0 {
		n /= 10
	}
	return n == 1
}

// Total returns how many entries went from the caches of all nodes, as far as the nodes
// have said so.
func (d deed) Total() int {
	total := d.Report.Total()
	for _, node := range d.Report.Nodes {
		for _, n := range node.Evicted {
			total += n
		}
	}
	return total
}

// Unconfirmed returns the nodes that may not have evicted.
func (d deed) Unconfirmed() []evict.Node { return unconfirmed(d.Report) }

// Summary says, in words, how many entries went from which cache of this node and of
// others, or returns an empty text.
func (d deed) Summary() string {
	if d.Report == nil {
		return ""
	}
	return fmt.Sprintf("%d from file, %d from index", d.Report.Evicted["file"], d.Report.Evicted["index"]) + everywhere(d.Report)
}
