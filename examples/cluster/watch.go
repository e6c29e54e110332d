package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A client sends requests to the auth servers. It does not check their certificates,
// since all of them are in this process.
type client struct {
	http           http.Client
	user, password string
}

func newClient(operator string) *client {
	user, password, _ := strings.Cut(operator, ":")
	return &client{user: user, password: password, http: http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 32, Proxy: nil,
	}}}
}

// An answer is a node's answer. Status 0: there was none.
type answer struct {
	began, ended time.Time
	status       int
	memory       bool // the verdict came from memory
	body         string
}

// ask sends a request, as the operator or with a bearer.
func (c *client) ask(ctx context.Context, method, url, bearer string, header ...string) answer {
	a := answer{began: time.Now()}
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		panic(err) // the URLs are this program's own
	}
	if r.SetBasicAuth(c.user, c.password); bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(r)
	if err == nil {
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err == nil {
			a.status, a.body, a.memory = resp.StatusCode, string(b), resp.Header.Get("X-Svctoken-From-Memory") == "true"
		}
	}
	a.ended = time.Now()
	return a
}

// A timeline prints what happens, and when.
type timeline struct {
	mu    sync.Mutex // guards the fields below
	out   io.Writer
	began time.Time
}

func (l *timeline) since(t time.Time) string { return fmt.Sprintf("%7.3f s", t.Sub(l.began).Seconds()) }

func (l *timeline) say(who, format string, args ...any) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, "%s  %-6s  %s\n", l.since(now), who, fmt.Sprintf(format, args...))
}

func (l *timeline) title(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, "\n%s\n", text)
}

// A probe authenticates with one token on one node, again and again, and remembers
// every answer.
type probe struct {
	node, token string
	stop        context.CancelFunc
	done        chan struct{}

	mu      sync.Mutex // guards the field below
	answers []answer
}

// pause is how long a probe waits between an answer and its next request.
const pause = 20 * time.Millisecond

func (s *show) probe(i int, token string) *probe {
	ctx, stop := context.WithCancel(context.Background())
	p := &probe{node: s.stage.name(i), token: token, stop: stop, done: make(chan struct{})}
	url, bearer := s.stage.urls[i]+"/_security/_authenticate", s.bearers[token]
	go func() {
		defer close(p.done)
		var last answer
		for ctx.Err() == nil {
			a := s.client.ask(ctx, "GET", url, bearer)
			if a.status == 0 && ctx.Err() != nil {
				return
			}
			p.mu.Lock()
			p.answers = append(p.answers, a)
			p.mu.Unlock()
			if text, news := change(last, a); news {
				s.say(p.node, "%s: %s", token, text)
			}
			last = a
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}()
	return p
}

// change says what is new in an answer compared with the last one: another status, or a
// verdict that was remembered before and has been read anew.
func change(last, a answer) (text string, news bool) {
	switch {
	case a.status == last.status && !(a.status == 200 && last.memory && !a.memory):
		return "", false
	case a.status == 0:
		return "no answer", true
	case a.status == 200 && !a.memory:
		return "200, read from the log", true
	case a.status == 200:
		return "200, from memory", true
	case a.status == 401:
		return "401, refused", true
	case a.status == 503:
		return "503, cannot tell", true
	default:
		return fmt.Sprint(a.status), true
	}
}

func (p *probe) end() {
	p.stop()
	<-p.done
}

func (p *probe) all() []answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers[:len(p.answers):len(p.answers)]
}

// next returns an answer to a request that the probe sends after this call.
func (p *probe) next(ctx context.Context) (answer, error) {
	return p.wait(ctx, func(answer) bool { return true })
}

// wait returns the first wanted answer to a request that is sent after this call.
func (p *probe) wait(ctx context.Context, wanted func(answer) bool) (answer, error) {
	now := time.Now()
	for {
		for _, a := range p.all() {
			if a.began.After(now) && wanted(a) {
				return a, nil
			}
		}
		select {
		case <-time.After(pause):
		case <-p.done:
			return answer{}, fmt.Errorf("the probe of %s on %s has ended", p.token, p.node)
		case <-ctx.Done():
			return answer{}, fmt.Errorf("%s did not answer for %s as it ought to: %w", p.node, p.token, context.Cause(ctx))
		}
	}
}

// A standing is the fleet's part of a node's statistics.
type standing struct {
	ID      string
	Answers bool
	Applied uint64
	Left    int64 `json:"lease_left_millis"`
	Members []json.RawMessage
}

// standing asks a node for its statistics.
func (s *show) standing(ctx context.Context, i int) (standing, error) {
	a := s.client.ask(ctx, "GET", s.stage.urls[i]+"/_stats", "")
	var body struct{ Fleet standing }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.status != 200 {
		return standing{}, fmt.Errorf("%s: statistics: %d %s", s.stage.name(i), a.status, a.body)
	}
	return body.Fleet, nil
}

// sayStandings prints how far in the log each node has come.
func (s *show) sayStandings(ctx context.Context) {
	for i, n := range s.stage.nodes {
		if n == nil {
			continue
		}
		st, err := s.standing(ctx, i)
		switch {
		case err != nil:
			s.say(s.stage.name(i), "%v", err)
		case st.Answers:
			s.say(s.stage.name(i), "has applied position %d, %.1f s are left of its lease, knows %d members", st.Applied, float64(st.Left)/1000, len(st.Members))
		default:
			s.say(s.stage.name(i), "has no lease")
		}
	}
}

func hostOf(url string) string { return url[strings.Index(url, "://")+len("://"):] }
