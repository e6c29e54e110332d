package dashboard_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	tokenprom "github.com/svctoken/svctoken/adapters/tokenprom"
	"github.com/svctoken/svctoken/internal/harness/dashboard"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

var update = flag.Bool("update", false, "write docs/dashboard.svg")

// TestDashboard runs each query of the dashboard on half an hour of a server's life:
// each returns series, with the labels that its legend asks for, and each panel
// shows something other than zero.
func TestDashboard(t *testing.T) {
	d, err := dashboard.Load("../../../adapters/tokenprom/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) < 10 {
		t.Errorf("got %d panels, want at least 10", len(d.Panels))
	}
	store, from, to := live(t)
	for _, p := range d.Panels {
		moved := false
		for _, target := range p.Targets {
			matrix, err := store.Run(t.Context(), target.Query(), from, to)
			if err != nil || len(matrix) == 0 {
				t.Errorf("%s: %s: got %d series, %v", p.Title, target.Expr, len(matrix), err)
			}
			for _, series := range matrix {
				for _, name := range target.Labels() {
					if !series.Metric.Has(name) {
						t.Errorf("%s: the legend %q asks for a label that %v lacks", p.Title, target.LegendFormat, series.Metric)
					}
				}
				for _, point := range series.Floats {
					moved = moved || point.F > 0 && !math.IsInf(point.F, 0)
				}
			}
		}
		if !moved {
			t.Errorf("%s shows nothing but zero", p.Title)
		}
	}
	picture, err := d.Draw(t.Context(), store, from, to)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("../../../docs/dashboard.svg", picture, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// A server is a group with a file and an index, and clients.
type server struct {
	t           *testing.T
	group       *tokencache.Group
	file, index tokentest.Source[string]
	tokens      []tokencache.Token
	clients     sync.WaitGroup
}

// live simulates half an hour in a bubble, and scrapes the collector.
func live(t *testing.T) (store *dashboard.Store, from, to time.Time) {
	store = new(dashboard.Store)
	synctest.Test(t, func(t *testing.T) {
		collector := tokenprom.New(tokenprom.Config{})
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(collector)
		s := &server{t: t, group: tokencache.NewGroup(tokencache.GroupConfig{Observer: collector.Observe, MaxHashing: 1, MaxWait: 2 * time.Second})}
		defer s.group.Close()
		collector.Watch("", s.group)
		w := newWorld(collector)
		cfg := tokencache.Config{TTL: 4 * time.Minute, MaxEntries: 24, MaxLoads: 16, ServeStale: 10 * time.Minute}
		for name, source := range map[string]*tokentest.Source[string]{"file": &s.file, "index": &s.index} {
			if _, err := tokencache.New(s.group, name, source, cfg); err != nil {
				t.Fatal(err)
			}
		}
		s.fill()
		from = time.Now()
		for second := range 30 * 60 {
			s.second(second)
			w.second(second)
			time.Sleep(20 * time.Millisecond) // in the middle of what these requests cause
			if time.Duration(second)*time.Second%dashboard.ScrapeEvery == 0 {
				if err := store.Scrape(registry, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(980 * time.Millisecond)
		}
		to = time.Now()
		s.clients.Wait()
	})
	return store, from, to
}

// fill puts twenty tokens into each source. Verifying one takes a while, like a password
// hash.
func (s *server) fill() {
	s.file.SetLatency(time.Millisecond)
	s.index.SetLatency(8 * time.Millisecond)
	for i := range 40 {
		token := tokentest.NewToken(s.t, fmt.Sprintf("elastic/fleet-server/token%d", i), "")
		source := &s.file
		if i%2 == 1 {
			source = &s.index
		}
		source.PutAnswer(token.ID(), tokencache.Answer[string]{Held: true, Verify: func(secret tokencache.Secret) bool {
			time.Sleep(15 * time.Millisecond)
			return token.Secret().Equal(secret)
		}})
		s.tokens = append(s.tokens, token)
	}
}

// second simulates one second.
func (s *server) second(n int) {
	minute := n / 60
	for i := range 8 + 4*(minute%5) { // clients come and go
		s.authenticate(s.tokens[(n*7+i*i)%len(s.tokens)])
	}
	switch {
	case minute >= 6 && minute < 9: // somebody guesses
		for i := range 12 {
			s.authenticate(tokentest.NewToken(s.t, fmt.Sprintf("elastic/kibana/guess%d", (n+i)%40), "a-secret-of-mine"))
		}
		s.authenticate(tokentest.NewToken(s.t, s.tokens[n%40].ID().String(), "a-secret-of-mine"))
	case n == 11*60: // an operator clears everything
		sel, err := s.tokens[0].ID().Account.SelectAll()
		if err != nil {
			s.t.Fatal(err)
		}
		s.group.Evict(s.t.Context(), sel)
	case n == 13*60: // a token is revoked
		s.index.Remove(s.tokens[1].ID())
	case n == 15*60:
		s.index.SetError(errors.New("no route to the index"))
	case n == 19*60:
		s.index.SetError(nil)
	case n == 22*60: // the index hangs, and new clients ask for it
		s.index.SetLatency(time.Minute)
	case n == 24*60:
		s.index.SetLatency(8 * time.Millisecond)
	}
	if minute >= 22 && minute < 24 {
		for i := range 6 {
			s.authenticate(tokentest.NewToken(s.t, fmt.Sprintf("elastic/fleet-server/new%d", n*6+i), ""))
		}
	}
}

func (s *server) authenticate(token tokencache.Token) {
	s.clients.Go(func() { s.group.AuthenticateToken(context.Background(), token) })
}
