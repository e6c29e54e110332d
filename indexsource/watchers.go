package indexsource

import (
	"iter"
	"maps"
	"slices"
	"sync"
)

// Watchers is the list of sources that watch an index, for implementations of [Index]:
// Watch calls Add, and each change is told to All. The zero Watchers is empty. It is safe
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

// Len returns how many sources there are.
func (w *Watchers) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.set)
}

// All yields the sources that the list has when it is called, in no order. It holds no
// lock meanwhile, so that the caller may add and cancel.
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
