package indexsource_test

import (
	"testing"

	"github.com/svctoken/svctoken/indexsource"
)

// TestWatchers: a source is told as often as it was added, until its cancel. Cancel may
// be called twice, and while others are told.
func TestWatchers(t *testing.T) {
	var w indexsource.Watchers
	source := indexsource.New(&indexsource.Memory{})
	count := func() (n int) {
		for got := range w.All() {
			if got != source {
				t.Error("got another source")
			}
			n++
		}
		if w.Len() != n {
			t.Errorf("got %d sources, and Len %d", n, w.Len())
		}
		return n
	}
	if got := count(); got != 0 {
		t.Errorf("of the zero Watchers: got %d", got)
	}
	first, second := w.Add(source), w.Add(source)
	if got := count(); got != 2 {
		t.Errorf("added twice: got %d", got)
	}
	told := 0
	for range w.All() {
		first()
		told++
	}
	first()
	if got := count(); told != 2 || got != 1 {
		t.Errorf("cancelled during a loop: told %d, then %d are left", told, got)
	}
	for range w.All() {
		break
	}
	second()
	if got := count(); got != 0 {
		t.Errorf("all cancelled: got %d", got)
	}
}
