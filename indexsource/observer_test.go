package indexsource_test

import (
	"context"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// TestObserverAsksTheSource: while an observer is told of any change, it can ask the
// source, change a document, and subscribe: no lock is held.
func TestObserverAsksTheSource(t *testing.T) {
	state := indexsource.State{Health: indexsource.HealthGreen, UUID: "1", UpToDate: true}
	for name, change := range map[string]func(*indexsource.Memory, *indexsource.Source){
		"state":      func(m *indexsource.Memory, _ *indexsource.Source) { m.SetState(state) },
		"document":   func(_ *indexsource.Memory, s *indexsource.Source) { s.DocumentChanged(fleet.TokenID("a")) },
		"account":    func(_ *indexsource.Memory, s *indexsource.Source) { s.AccountChanged(fleet) },
		"everything": func(_ *indexsource.Memory, s *indexsource.Source) { s.EverythingChanged() },
		"creation": func(m *indexsource.Memory, _ *indexsource.Source) {
			m.Create(context.Background(), fleet.TokenID("a"), "operator")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var index indexsource.Memory
			source := indexsource.New(&index)
			told, within := 0, false
			g := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(ctx context.Context, ev tokencache.Event) {
				if within || ev.Kind != tokencache.EventEviction || ev.Cause == tokencache.CauseClosed {
					return
				}
				within = true // the observer is told of its own changes, too
				told++
				if got := source.State(); name == "state" && got != state {
					t.Errorf("the state is %+v while its change is reported", got)
				}
				source.Lookup(ctx, fleet.TokenID("a"))
				index.List(ctx, fleet)
				index.Create(ctx, fleet.TokenID("b"), "observer")
				source.AccountChanged(fleet)
				source.Subscribe(&tokencache.Subscribers{})()
			}})
			if _, err := tokencache.New(g, "index", source, tokencache.Config{}); err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			done := make(chan struct{})
			go func() { defer close(done); change(&index, source) }()
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Fatal("the change is not done: the observer waits for the source, and the source for the observer")
			}
			if told != 1 {
				t.Errorf("told %d times", told)
			}
		})
	}
}
