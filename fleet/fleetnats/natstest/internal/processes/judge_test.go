//go:build linux

package processes_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A judge is a second checker. It shares nothing with the first, the ledgers: it listens
// to what passes between the checker's process and the others, and records of each call
// when it was sent, when it was answered, and what the answer says. It judges afterwards,
// from these records alone.
//
// It judges the tokens with documents, and one whose source it has in its own hands: a
// file with a number, the generation, which it raises before it asks for an eviction.
// Like a file that nobody watches, that source tells no cache of its changes. So the
// judge depends on no node's clock.
//
// Its methods are safe for concurrent use by multiple goroutines.
type judge struct {
	began time.Time
	file  string // has the generation

	mu     sync.Mutex // guards the fields below
	asked  map[string][]said
	wrote  map[string][]change // documents, by token
	turned []span              // by generation: when it was put into the file
	forgot []change            // evictions of the token with generations
	losses []span              // of the log, with all documents or the last ones
	losing bool                // the last one is not over
}

// A span is the time from a call's sending to its answer, by the judge's clock.
type span struct{ sent, answered time.Duration }

// A said is an answer to an authentication.
type said struct {
	span
	node    string
	version int // zero: the token was refused
}

// A change is a call that writes, deletes or evicts.
type change struct {
	span
	version int  // of the document that it writes; zero: it deletes, or evicts
	done    bool // the answer says that it is in force
}

const generational = "g" // the token with generations

func newJudge(file string) (*judge, error) {
	j := &judge{began: time.Now(), file: file, asked: make(map[string][]said), wrote: make(map[string][]change), turned: []span{{}}}
	return j, j.turn()
}

func (j *judge) now() time.Duration { return time.Since(j.began) }

// turn raises the generation.
func (j *judge) turn() error {
	j.mu.Lock()
	number := len(j.turned)
	j.turned = append(j.turned, span{j.now(), never})
	j.mu.Unlock()
	err := os.WriteFile(j.file+".new", []byte(strconv.Itoa(number)), 0o600)
	if err = cmp.Or(err, os.Rename(j.file+".new", j.file)); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.turned[number].answered = j.now()
	return nil
}

const never = time.Duration(1<<63 - 1)

// losesFrom records that the log loses documents until the function that it returns is
// called.
func (j *judge) losesFrom() (over func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.losing {
		j.losses = append(j.losses, span{j.now(), never})
	}
	j.losing = true
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.losses[len(j.losses)-1].answered = j.now()
		j.losing = false
	}
}

// listen returns a transport that records what passes over another one.
func (j *judge) listen(node string, over http.RoundTripper) http.RoundTripper {
	return tap(func(r *http.Request) (*http.Response, error) {
		verb, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		lost := func() {}
		if verb == "recreate" {
			lost = j.losesFrom()
		}
		sent := j.now()
		w, body, err := exchange(over, r)
		s := span{sent, j.now()}
		if err == nil && w.StatusCode == http.StatusOK {
			lost() // another call follows where this one fails, which may take effect late
			j.note(node, verb, rest, s, body)
		} else {
			j.note(node, verb, rest, s, nil)
		}
		return w, err
	})
}

type tap func(*http.Request) (*http.Response, error)

func (t tap) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// exchange sends a request, and reads the whole answer.
func exchange(over http.RoundTripper, r *http.Request) (*http.Response, []byte, error) {
	w, err := over.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(w.Body)
	w.Body.Close()
	if err != nil {
		return nil, nil, err
	}
	w.Body = io.NopCloser(bytes.NewReader(body))
	return w, body, nil
}

// note records a call; a nil body means that there was no answer.
func (j *judge) note(node, verb, rest string, s span, body []byte) {
	var words struct {
		Outcome string
		Version int
		Err     *string
	}
	answered := body != nil && json.Unmarshal(body, &words) == nil
	c := change{s, 0, answered && words.Err != nil && *words.Err == ""}
	name, number, _ := strings.Cut(rest, "/")
	j.mu.Lock()
	defer j.mu.Unlock()
	switch verb {
	case "auth":
		if answered && words.Outcome != "none" {
			j.asked[name] = append(j.asked[name], said{s, node, words.Version})
		}
	case "put":
		c.version, _ = strconv.Atoi(number)
		j.wrote[name] = append(j.wrote[name], c)
	case "delete":
		j.wrote[name] = append(j.wrote[name], c)
	case "turned":
		j.forgot = append(j.forgot, c)
	case "evict":
		if rest == "*" {
			j.forgot = append(j.forgot, c)
		}
	}
}

// A judged says how many answers a judge has judged, and which were wrong.
type judged struct {
	answers, exempt int // exempt: the log was losing documents meanwhile
	wrong           []string
}

// verdict judges everything that was recorded.
func (j *judge) verdict() judged {
	j.mu.Lock()
	defer j.mu.Unlock()
	var all judged
	for token, answers := range j.asked {
		switch {
		case token == generational:
			all.generations(answers, j.turned, j.forgot)
		case len(j.wrote[token]) > 0:
			all.documents(token, answers, j.wrote[token], j.losses)
		}
	}
	return all
}

func (all *judged) complain(token string, a said, format string, args ...any) {
	all.wrong = append(all.wrong, fmt.Sprintf("the second checker: of token %s, asked at %v and answered at %v, node %s said %d: %s",
		token, a.sent, a.answered, a.node, a.version, fmt.Sprintf(format, args...)))
}

// generations judges answers that name a generation. If an eviction was in force when the
// question was sent, a generation that had been replaced before that eviction was asked
// for is too old.
func (all *judged) generations(answers []said, turned []span, forgot []change) {
	floor := floors(forgot, func(c change) int {
		oldest, _ := slices.BinarySearchFunc(turned, c.sent, func(s span, at time.Duration) int { return cmp.Compare(s.answered, at) })
		return oldest - 1
	})
	for _, a := range answers {
		all.answers++
		switch least := floor(a.sent); {
		case a.version < max(least, 1):
			all.complain(generational, a, "generation %d was there before an eviction that had been answered", least)
		case a.version >= len(turned) || turned[a.version].sent > a.answered:
			all.complain(generational, a, "no such generation was there yet")
		}
	}
}

// documents judges answers that name a document. A document that another write had
// replaced when the question was sent is too old. Each token has one writer.
func (all *judged) documents(token string, answers []said, wrote []change, losses []span) {
	slices.SortStableFunc(wrote, func(a, b change) int { return cmp.Compare(a.sent, b.sent) })
	place := make(map[int]int) // of a version among the writes
	var deleted []int
	for i, c := range wrote {
		if c.version > 0 {
			place[c.version] = i
		} else {
			deleted = append(deleted, i)
		}
	}
	order := make(map[change]int, len(wrote))
	for i, c := range wrote {
		order[c] = i
	}
	floor := floors(wrote, func(c change) int { return order[c] + 1 })
	for _, a := range answers {
		all.answers++
		since, lost := lastLoss(losses, a.span)
		if lost {
			all.exempt++
			continue
		}
		least := floor(a.sent) - 1 // the write that is in force, or one after it, has to be seen
		if least >= 0 && wrote[least].sent < since {
			least = -1
		}
		at, known := place[a.version]
		gone := slices.ContainsFunc(deleted, func(i int) bool { return i >= least && wrote[i].sent < a.answered })
		switch {
		case a.version == 0 && least >= 0 && !gone:
			all.complain(token, a, "document %d was there", wrote[least].version)
		case a.version > 0 && (!known || wrote[at].sent > a.answered):
			all.complain(token, a, "nobody had written that")
		case a.version > 0 && at < least:
			all.complain(token, a, "document %d (0: none) had taken its place", wrote[least].version)
		}
	}
}

// floors returns, for a time, the highest value of the changes that had been answered by
// then, and were in force; zero: there was none.
func floors(changes []change, value func(change) int) func(at time.Duration) int {
	var times []time.Duration
	var values []int
	sorted := slices.SortedFunc(slices.Values(changes), func(a, b change) int { return cmp.Compare(a.answered, b.answered) })
	for _, c := range sorted {
		if !c.done {
			continue
		}
		best := value(c)
		if n := len(values); n > 0 {
			best = max(best, values[n-1])
		}
		times, values = append(times, c.answered), append(values, best)
	}
	return func(at time.Duration) int {
		i, _ := slices.BinarySearch(times, at)
		if i == 0 {
			return 0
		}
		return values[i-1]
	}
}

// lastLoss returns when the last loss before an answer was over, and whether there was
// one between the question and the answer.
func lastLoss(losses []span, a span) (over time.Duration, during bool) {
	for _, l := range losses {
		if l.sent < a.answered {
			over, during = max(over, l.answered), during || l.answered > a.sent
		}
	}
	return over, during
}

func TestJudge(t *testing.T) {
	at := func(sent, answered int) span { return span{time.Duration(sent), time.Duration(answered)} }
	put := func(version, sent, answered int, done bool) change { return change{at(sent, answered), version, done} }
	answer := func(version, sent, answered int) said { return said{at(sent, answered), "n0", version} }
	for _, tt := range []struct {
		name   string
		wrote  []change
		losses []span
		answer said
		want   int
	}{
		{"the document", []change{put(1, 10, 20, true)}, nil, answer(1, 30, 40), 0},
		{"one that was replaced", []change{put(1, 10, 20, true), put(2, 30, 40, true)}, nil, answer(1, 50, 60), 1},
		{"one that is being replaced", []change{put(1, 10, 20, true), put(2, 30, 40, true)}, nil, answer(1, 35, 60), 0},
		{"one that may have been replaced", []change{put(1, 10, 20, true), put(2, 30, 40, false)}, nil, answer(1, 50, 60), 0},
		{"one that may be there", []change{put(1, 10, 20, true), put(2, 30, 40, false)}, nil, answer(2, 50, 60), 0},
		{"one that was deleted", []change{put(1, 10, 20, true), put(0, 30, 40, true)}, nil, answer(1, 50, 60), 1},
		{"none, and it was deleted", []change{put(1, 10, 20, true), put(0, 30, 40, true)}, nil, answer(0, 50, 60), 0},
		{"none, and it may have been deleted", []change{put(1, 10, 20, true), put(0, 30, 40, false)}, nil, answer(0, 50, 60), 0},
		{"none, and it is deleted later", []change{put(1, 10, 20, true), put(0, 70, 80, true)}, nil, answer(0, 50, 60), 1},
		{"none, and it was there", []change{put(1, 10, 20, true)}, nil, answer(0, 50, 60), 1},
		{"none, and it was deleted before it was there", []change{put(0, 1, 2, true), put(1, 10, 20, true)}, nil, answer(0, 50, 60), 1},
		{"none yet", []change{put(1, 10, 20, true)}, nil, answer(0, 15, 60), 0},
		{"one that nobody wrote", []change{put(1, 10, 20, true)}, nil, answer(7, 50, 60), 1},
		{"one that is written later", []change{put(1, 10, 20, true), put(2, 70, 80, true)}, nil, answer(2, 50, 60), 1},
		{"the log is lost meanwhile", []change{put(1, 10, 20, true)}, []span{at(45, 55)}, answer(0, 50, 60), 0},
		{"the log was lost", []change{put(1, 10, 20, true)}, []span{at(30, 40)}, answer(0, 50, 60), 0},
		{"the log was lost, and it was written since", []change{put(1, 10, 20, true), put(2, 45, 48, true)}, []span{at(30, 40)}, answer(0, 50, 60), 1},
		{"the log was lost, and it was being written", []change{put(1, 10, 20, true), put(2, 35, 48, true)}, []span{at(30, 40)}, answer(1, 50, 60), 0},
		{"the log is lost later", []change{put(1, 10, 20, true)}, []span{at(70, 80)}, answer(0, 50, 60), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all judged
			all.documents("d0", []said{tt.answer}, tt.wrote, tt.losses)
			if len(all.wrong) != tt.want {
				t.Errorf("got %q, want %d", all.wrong, tt.want)
			}
		})
	}
	turned := []span{{}, at(1, 2), at(20, 25), at(60, 65)}
	for _, tt := range []struct {
		name   string
		forgot change
		answer said
		want   int
	}{
		{"a generation that was evicted", put(0, 30, 40, true), answer(1, 50, 55), 1},
		{"a generation that may have been", put(0, 30, 40, false), answer(1, 50, 55), 0},
		{"a generation that is being evicted", put(0, 30, 40, true), answer(1, 35, 55), 0},
		{"a generation that was raised while the eviction was sent", put(0, 24, 40, true), answer(1, 50, 55), 0},
		{"the generation", put(0, 30, 40, true), answer(2, 50, 55), 0},
		{"a generation of the future", put(0, 30, 40, true), answer(3, 50, 55), 1},
		{"a generation that nobody made", put(0, 30, 40, true), answer(4, 50, 70), 1},
		{"refused", put(0, 30, 40, false), answer(0, 50, 70), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all judged
			all.generations([]said{tt.answer}, turned, []change{tt.forgot})
			if len(all.wrong) != tt.want {
				t.Errorf("got %q, want %d", all.wrong, tt.want)
			}
		})
	}
}

// TestJudgeListens: a judge knows of a call exactly what passes between the processes.
func TestJudgeListens(t *testing.T) {
	j, err := newJudge(t.TempDir() + "/generation")
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{
		"/put/d0/1": `{"Err":""}`, "/put/d0/2": `{"Err":"no"}`, "/delete/d0": "gone",
		"/auth/d0": `{"Outcome":"confirmed","Version":1}`, "/auth/g": `{"Outcome":"none"}`, "/turned": `{"Err":""}`, "/evict/*": `{"Err":""}`, "/evict/s1": `{"Err":""}`,
		"/recreate": "gone",
	}
	over := j.listen("n0", tap(func(r *http.Request) (*http.Response, error) {
		body, status := bodies[r.URL.Path], http.StatusOK
		if body == "gone" {
			status = http.StatusInternalServerError
		}
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}, nil
	}))
	for _, path := range []string{"/put/d0/1", "/put/d0/2", "/delete/d0", "/auth/d0", "/auth/g", "/turned", "/evict/*", "/evict/s1", "/recreate", "/recreate"} {
		w, err := over.RoundTrip(&http.Request{URL: &url.URL{Path: path}})
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(w.Body); err != nil || string(body) != bodies[path] {
			t.Errorf("%s: %q was passed on, %v", path, body, err)
		}
	}
	var got []string
	for _, c := range append(slices.Clone(j.wrote["d0"]), j.forgot...) {
		got = append(got, fmt.Sprint(c.version, " ", c.done))
	}
	if want := "[1 true 2 false 0 false 0 true 0 true]"; fmt.Sprint(got) != want {
		t.Errorf("changes: got %v, want %s", got, want)
	}
	if len(j.asked["d0"]) != 1 || j.asked["d0"][0].version != 1 || len(j.asked[generational]) != 0 || len(j.losses) != 1 || !j.losing {
		t.Errorf("got %+v, losses %+v", j.asked, j.losses)
	}
	bodies["/recreate"] = "true"
	if _, err := over.RoundTrip(&http.Request{URL: &url.URL{Path: "/recreate"}}); err != nil || j.losing || len(j.losses) != 1 || j.losses[0].answered == never {
		t.Errorf("a loss that is over: %+v, %v", j.losses, err)
	}
}
