package server

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
)

// A journal remembers the last things that callers did, and the last failed logins,
// and counts what went in all evictions. The zero journal is empty.
type journal struct {
	mu      sync.Mutex // guards the fields below
	number  int        // of the last deed
	recent  []deed     // newest first
	logins  []login    // newest first
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

// A login is a number of failed ones of one address.
type login struct {
	Time  time.Time // of the last
	Name  string    // that it was tried under last
	From  string
	Count int
}

const journalLength = 20

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

// addLogin returns how many logins of this address have failed since the journal
// first named it.
func (j *journal) addLogin(name, from string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	entry := login{time.Now(), name, from, 1}
	if i := slices.IndexFunc(j.logins, func(l login) bool { return l.From == from }); i >= 0 {
		entry.Count += j.logins[i].Count
		j.logins = slices.Delete(j.logins, i, i+1)
	}
	j.logins = slices.Insert(j.logins, 0, entry)
	j.logins = j.logins[:min(len(j.logins), journalLength)]
	return entry.Count
}

// A record is what a journal remembers at one instant.
type record struct {
	Deeds   []deed         // newest first
	Logins  []login        // newest first
	evicted map[string]int // how many entries went from each cache in all evictions
}

func (j *journal) read() record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return record{slices.Clone(j.recent), slices.Clone(j.logins), maps.Clone(j.evicted)}
}

// evicted notes an eviction that somebody asked for, and returns its number.
func (s *server) evicted(ctx context.Context, user string, report evict.Report) int {
	attrs := []any{"user", user, "selector", report.Selector.String(), "evicted", report.Evicted, "duration", report.Duration}
	if len(report.Nodes) > 0 {
		attrs = append(attrs, "nodes", len(report.Nodes), "unconfirmed", len(unconfirmed(&report)))
	}
	s.logger.InfoContext(ctx, "evicted", attrs...)
	return s.journal.add(deed{User: user, Verb: "evicted", What: report.Selector.String(), Report: &report})
}

// changed notes that somebody has created or deleted a token.
func (s *server) changed(ctx context.Context, user, verb string, id tokencache.TokenID) {
	s.logger.InfoContext(ctx, verb+" a token", "user", user, "token", id.String())
	s.journal.add(deed{User: user, Verb: verb, What: id.String()})
}

// failedLogin notes credentials that were refused. A request without any is a
// browser's first. Of many from one address, the first is logged, the tenth, the
// hundredth and so on: an attack does not fill the disk.
func (s *server) failedLogin(r *http.Request) {
	name, ok := loginName(r)
	if !ok {
		return
	}
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	count := s.journal.addLogin(name, from)
	if isPowerOfTen(count) {
		s.logger.WarnContext(r.Context(), "login failed", "name", name, "from", from, "failures", count)
	}
}

// loginName returns the name of a user, or of a service token. Names may be
// invented.
func loginName(r *http.Request) (name string, ok bool) {
	const most = 128
	name, _, ok = r.BasicAuth()
	if !ok {
		scheme, bearer, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		token, err := tokencache.ParseBearer(strings.TrimSpace(bearer))
		if err != nil || !strings.EqualFold(scheme, "Bearer") {
			return "", false
		}
		name = token.ID().String()
	}
	return strings.ToValidUTF8(name[:min(len(name), most)], ""), true
}

func isPowerOfTen(n int) bool {
	for n >= 10 && n%10 == 0 {
		n /= 10
	}
	return n == 1
}

// Total returns how many entries went from the caches of all nodes, as far as they said.
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

// Summary says what went from which cache here, and where else, or nothing.
func (d deed) Summary() string {
	if d.Report == nil {
		return ""
	}
	return fmt.Sprintf("%d from file, %d from index", d.Report.Evicted["file"], d.Report.Evicted["index"]) + everywhere(d.Report)
}
