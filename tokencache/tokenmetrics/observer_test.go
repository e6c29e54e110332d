package tokenmetrics_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// A world is a group that is observed.
type world struct {
	metrics *tokenmetrics.Observer
	group   *tokencache.Group
	src     *tokentest.Source[string]
}

func newWorld(t testing.TB) *world {
	w := &world{metrics: tokenmetrics.New(tokenmetrics.Config{}), src: new(tokentest.Source[string])}
	w.group = tokencache.NewGroup(tokencache.GroupConfig{Observer: w.metrics.Observe})
	t.Cleanup(w.group.Close)
	if _, err := tokencache.New(w.group, "file", w.src, tokencache.Config{MaxBackoff: -1, AbsentTTL: -1}); err != nil {
		t.Fatal(err)
	}
	w.metrics.Watch("", w.group)
	return w
}

// use makes a hit, a mismatch, a refusal, an outage, an eviction, and a request of
// another kind.
func (w *world) use(t testing.TB) {
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	w.src.Put(token, "record") // an eviction
	for _, secret := range []string{token.Secret().Reveal(), token.Secret().Reveal(), "another-secret"} {
		w.group.AuthenticateToken(t.Context(), tokentest.NewToken(t, "elastic/fleet-server/token1", secret))
	}
	w.group.AuthenticateToken(t.Context(), tokentest.NewToken(t, "elastic/fleet-server/nobody", ""))
	w.src.SetError(errors.New("no route"))
	w.group.AuthenticateToken(t.Context(), tokentest.NewToken(t, "elastic/fleet-server/token2", ""))
	w.src.SetError(nil)
	w.group.Authenticate(t.Context(), "Basic dXNlcjpwYXNz")
	w.group.Close() // waits for no one
	if err := w.group.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func scrape(t testing.TB, observers ...*tokenmetrics.Observer) string {
	t.Helper()
	rec := httptest.NewRecorder()
	tokenmetrics.Handler(observers...).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Fatalf("got %d, %v: %s", rec.Code, rec.Header(), rec.Body)
	}
	return rec.Body.String()
}

// expect checks that a page has these lines.
func expect(t testing.TB, page string, want ...string) {
	t.Helper()
	for _, line := range want {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("the page lacks %s", line)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestGroup(t *testing.T) {
	w := newWorld(t)
	w.use(t)
	page := scrape(t, w.metrics)
	expect(t, page,
		`svctoken_authentications_total{outcome="confirmed"} 2`,
		`svctoken_authentications_total{outcome="refused"} 2`,
		`svctoken_authentications_total{outcome="no_answer"} 1`,
		`svctoken_authentications_total{outcome="not_service_token"} 1`,
		`svctoken_cache_hits_total{cache="file"} 1`,
		`svctoken_cache_mismatches_total{cache="file"} 1`,
		`svctoken_cache_misses_total{cache="file"} 3`,
		`svctoken_cache_load_errors_total{cache="file"} 1`,
		`svctoken_cache_load_refusals_total{cache="file"} 1`,
		`svctoken_cache_entries{cache="file"} 0`,
		`svctoken_load_duration_seconds_count{cache="file",outcome="confirmed"} 1`,
		`svctoken_load_duration_seconds_count{cache="file",outcome="no_answer"} 1`,
		`svctoken_loads_ended_total{cache="file",reason="none"} 1`,
		`svctoken_loads_ended_total{cache="file",reason="source_failed"} 1`,
		`svctoken_loads_ended_total{cache="file",reason="unknown_token"} 1`,
		`svctoken_evictions_total{cause="source"} 1`)
	for _, hidden := range []string{"token1", "nobody", "fleet-server"} {
		if strings.Contains(page, hidden) {
			t.Errorf("the page shows %s: what clients send must not become a label", hidden)
		}
	}
}

// TestBeginAtZero: a counter is there before its first event, which rate and increase
// would not see otherwise. That goes for every reason and every cause.
func TestBeginAtZero(t *testing.T) {
	w := newWorld(t)
	page := scrape(t, w.metrics)
	expect(t, page,
		`svctoken_evictions_total{cause="asked"} 0`,
		`svctoken_evictions_total{cause="node"} 0`,
		`svctoken_changes_total{change="delete",outcome="failed"} 0`,
		`svctoken_changes_total{change="rotate",outcome="unconfirmed"} 0`,
		`svctoken_loads_ended_total{cache="file",reason="none"} 0`,
		`svctoken_loads_ended_total{cache="file",reason="source_panicked"} 0`,
		`svctoken_turned_away_total{cache="file",reason="overloaded"} 0`,
		`svctoken_turned_away_total{cache="file",reason="unavailable"} 0`)
	counters := regexp.MustCompile(`(?m)^svctoken_(?:loads_ended|turned_away|evictions)_total`)
	before := len(counters.FindAllString(page, -1))
	w.use(t)
	if after := len(counters.FindAllString(scrape(t, w.metrics), -1)); after != before {
		t.Errorf("got %d counters before the first event, and %d after", before, after)
	}
}

// TestNames: each counter of tokencache.Stats and GroupStats is shown, under a name
// that has its own in it: a reader of the code finds the metric.
func TestNames(t *testing.T) {
	page := scrape(t, newWorld(t).metrics)
	patterns := map[string]string{}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[tokencache.Stats]()) {
		patterns["cache:"+field.Name] = `(?m)^svctoken_cache_(\w+_)?` + strings.ToLower(field.Name) + `(_total)?{`
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[tokencache.GroupStats]()) {
		pattern := `(?m)^svctoken_authentications_total{outcome="` + snake(field.Name) + `"}`
		if field.Type.Kind() == reflect.Int {
			pattern = `(?m)^svctoken_(\w+_)?` + strings.ToLower(field.Name) + ` `
		}
		patterns["group:"+field.Name] = pattern
	}
	for name, pattern := range patterns {
		if !regexp.MustCompile(pattern).MatchString(page) {
			t.Errorf("%s: nothing matches %s", name, pattern)
		}
	}
}

// snake writes the name of a Go field as a label's value is written, in the singular.
func snake(name string) string {
	words := regexp.MustCompile(`[A-Z][a-z]*`).FindAllString(name, -1)
	return strings.TrimSuffix(strings.ToLower(strings.Join(words, "_")), "s")
}

func TestHistogram(t *testing.T) {
	metrics := tokenmetrics.New(tokenmetrics.Config{Buckets: []float64{.5, 1}})
	for _, took := range []time.Duration{250 * time.Millisecond, time.Second, time.Second, 4 * time.Second} {
		metrics.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventLoad, Cache: "file", Duration: took})
	}
	want := `# HELP svctoken_load_duration_seconds How long loads took, waiting for their turn to compute a password hash included.
# TYPE svctoken_load_duration_seconds histogram
svctoken_load_duration_seconds_bucket{cache="file",outcome="confirmed",le="0.5"} 1
svctoken_load_duration_seconds_bucket{cache="file",outcome="confirmed",le="1"} 3
svctoken_load_duration_seconds_bucket{cache="file",outcome="confirmed",le="+Inf"} 4
svctoken_load_duration_seconds_sum{cache="file",outcome="confirmed"} 6.25
svctoken_load_duration_seconds_count{cache="file",outcome="confirmed"} 4
# HELP svctoken_loads_ended_total Loads that ended, by reason; none: the source confirmed the token.
# TYPE svctoken_loads_ended_total counter
svctoken_loads_ended_total{cache="file",reason="none"} 4
`
	if diff := cmp.Diff(want, scrape(t, metrics)); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

type file filesource.Status

func (f *file) Status() filesource.Status { return filesource.Status(*f) }

type node struct {
	status  fleet.Status
	members []fleet.Member
}

func (n *node) Status() fleet.Status    { return n.status }
func (n *node) Members() []fleet.Member { return n.members }

// TestWhatIsAround: a file, an index and a node, well and unwell.
func TestWhatIsAround(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := tokenmetrics.New(tokenmetrics.Config{})
		now := time.Now()
		f := &file{Time: now, Changed: now.Add(-time.Minute), Tokens: 7, MoreWarnings: 2}
		index := tokenmetrics.IndexStatus{Health: indexsource.HealthGreen, Revision: 1 << 40, Polled: now}
		n := &node{fleet.Status{Serving: true, Until: now.Add(12 * time.Second), Lease: 15 * time.Second, Applied: 81, Pending: 3}, []fleet.Member{{Until: now.Add(time.Second)}, {Until: now}}}
		metrics.WatchFile("file", f)
		metrics.WatchIndex("sql", func() tokenmetrics.IndexStatus { return index })
		metrics.WatchFleet("", n)
		metrics.ObserveFleet(fleet.Event{Kind: fleet.EventRenewed})
		expect(t, scrape(t, metrics),
			`svctoken_file_ok{file="file"} 1`,
			`svctoken_file_missing{file="file"} 0`,
			`svctoken_file_tokens{file="file"} 7`,
			`svctoken_file_warnings{file="file"} 2`,
			`svctoken_file_loaded_timestamp_seconds{file="file"} 946684800`,
			`svctoken_file_changed_timestamp_seconds{file="file"} 946684740`,
			`svctoken_index_ok{index="sql"} 1`,
			`svctoken_index_health{health="green",index="sql"} 1`,
			`svctoken_index_health{health="none",index="sql"} 0`,
			`svctoken_index_revision{index="sql"} 1099511627776`,
			`svctoken_index_polled_timestamp_seconds{index="sql"} 946684800`,
			`svctoken_fleet_serving 1`,
			`svctoken_fleet_lease_seconds 15`,
			`svctoken_fleet_lease_left_seconds 12`,
			`svctoken_fleet_applied 81`,
			`svctoken_fleet_members 1`,
			`svctoken_fleet_changes_pending 3`,
			`svctoken_fleet_renewal_age_seconds 3`,
			`svctoken_fleet_events_total{event="renewed"} 1`,
			`svctoken_fleet_events_total{event="stopped"} 0`)

		time.Sleep(20 * time.Second)
		n.status = fleet.Status{Lease: 15 * time.Second}
		*f = file{Time: now, Missing: true, Err: errors.New("a pipe")}
		index = tokenmetrics.IndexStatus{Health: indexsource.HealthRed, Revision: -1, Err: errors.New("no route")}
		page := scrape(t, metrics)
		expect(t, page,
			`svctoken_file_ok{file="file"} 0`,
			`svctoken_file_missing{file="file"} 1`,
			`svctoken_index_ok{index="sql"} 0`,
			`svctoken_index_health{health="red",index="sql"} 1`,
			`svctoken_fleet_serving 0`,
			`svctoken_fleet_lease_left_seconds 0`,
			`svctoken_fleet_members 0`,
			`svctoken_fleet_renewal_age_seconds 20`)
		for _, hidden := range []string{"index_revision", "polled", "file_changed"} {
			if strings.Contains(page, hidden) {
				t.Errorf("%s is shown, and not known", hidden)
			}
		}
	})
}

// TestChanges: a change that fails is told from one that was refused for good reason.
func TestChanges(t *testing.T) {
	metrics := tokenmetrics.New(tokenmetrics.Config{})
	for _, err := range []error{
		nil, nil, errors.New("disk full"), &tokencache.NameError{}, fmt.Errorf("delete: %w", tokencache.ErrNotFound), tokencache.ErrExists, fmt.Errorf("later: %w", &fleet.UnconfirmedError{}),
	} {
		metrics.ObserveChange("delete", err)
	}
	expect(t, scrape(t, metrics),
		`svctoken_changes_total{change="delete",outcome="done"} 2`,
		`svctoken_changes_total{change="delete",outcome="failed"} 1`,
		`svctoken_changes_total{change="delete",outcome="rejected"} 3`,
		`svctoken_changes_total{change="delete",outcome="unconfirmed"} 1`)
}

// TestTwoGroups: they share a page, on which each metric has one heading.
func TestTwoGroups(t *testing.T) {
	a, b := newWorld(t), newWorld(t)
	a.metrics.Watch("a", a.group)
	b.metrics.Watch(`b"\`+"\n\xff", b.group)
	b.use(t)
	page := scrape(t, a.metrics, b.metrics)
	expect(t, page,
		`svctoken_cache_hits_total{cache="file",group="a"} 0`,
		`svctoken_cache_hits_total{cache="file",group="b\"\\\n`+"\uFFFD"+`"} 1`,
		`svctoken_evictions_total{cause="source",group="a"} 0`)
	if got := strings.Count(page, "# TYPE svctoken_cache_hits_total "); got != 1 {
		t.Errorf("got %d headings", got)
	}
	lint(t, page)
}

// lint gives a page to Prometheus' own tool, if there is one.
func lint(t *testing.T, page string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("there is no promtool")
		return
	}
	cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(page)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

func TestLint(t *testing.T) {
	w := newWorld(t)
	w.metrics.WatchFile("file", new(file))
	w.metrics.WatchFleet("", new(node))
	w.metrics.WatchIndex("index", func() tokenmetrics.IndexStatus { return tokenmetrics.IndexStatus{} })
	w.metrics.ObserveChange("delete", nil)
	w.use(t)
	lint(t, scrape(t, w.metrics))
}

// TestAll: the metrics are the same, in the same order, with points and without.
func TestAll(t *testing.T) {
	w := newWorld(t)
	var empty, full []string
	for f := range tokenmetrics.New(tokenmetrics.Config{}).All() {
		empty = append(empty, f.FullName()+" "+f.Kind.String()+" "+f.Unit)
		if len(f.Points) > 0 || f.Help == "" {
			t.Errorf("got %+v", f)
		}
	}
	for f := range w.metrics.All() {
		full = append(full, f.FullName()+" "+f.Kind.String()+" "+f.Unit)
	}
	if diff := cmp.Diff(empty, full); diff != "" || len(empty) < 30 {
		t.Errorf("metrics (-empty +full):\n%s", diff)
	}
}

func TestMethods(t *testing.T) {
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "DELETE": 405} {
		rec := httptest.NewRecorder()
		tokenmetrics.Handler(newWorld(t).metrics).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, "/metrics", nil))
		if rec.Code != want {
			t.Errorf("%s: got %d, want %d", method, rec.Code, want)
		}
	}
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				w.metrics.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventLoad, Cache: "file"})
				w.metrics.ObserveFleet(fleet.Event{Kind: fleet.EventRenewed})
				w.metrics.ObserveChange("delete", nil)
				w.metrics.WatchFile("file", new(file))
				w.metrics.Watch("", w.group)
				scrape(t, w.metrics)
			}
		})
	}
	wg.Wait()
}
