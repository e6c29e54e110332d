package indexsource

import (
	"iter"
	"maps"
	"slices"
	"sync"
)

// Watchers are the sources that watch an index, for programs that are one: Watch adds a
// source, and each change is told to all. The zero Watchers are empty. They are safe
// for concurrent use by multiple goroutines.
type Watchers struct {
	mu  sync.Mutex
	set map[*watcher]struct{} // guarded by mu
}

// A watcher is one call of Add: a source may be added twice.
type watcher struct{ source *Source }

// Add adds a source until cancel is called. Cancel may be called more than once.
func (w *Watchers) Add(source *Source) (cancel func()) {
	added := &watcher{source}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		w.set = make(map[*watcher]struct{})
	}
	w.set[added] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.set, added)
	}
}

// Len returns how many there are.
func (w *Watchers) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.set)
}

// All yields those that are there when it is called, in no order. No lock is held
// meanwhile, so that what is told may add or cancel.
func (w *Watchers) All() iter.Seq[*Source] {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Collect(maps.Keys(w.set))
	return func(yield func(*Source) bool) {
		for _, w := range all {
			if !yield(w.source) {
				return
			}
		}
	}
}
