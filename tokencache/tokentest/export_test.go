package tokentest

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// SourceFailures runs RunSource's properties without failing t, and returns the names
// of those which the implementation breaks.
func SourceFailures[R any](t *testing.T, open func(testing.TB) (tokencache.Source[R], Backend)) (names []string) {
	for _, p := range sourceProperties {
		if fails(t, p.name, func(t testing.TB) {
			src, b := open(t)
			p.check(newSubject(t, erase(src), b))
		}) {
			names = append(names, p.name)
		}
	}
	return names
}

// IndexFailures is SourceFailures for RunIndex.
func IndexFailures(t *testing.T, open func(testing.TB) (indexsource.Index, Backend)) (names []string) {
	for _, p := range indexProperties() {
		if fails(t, p.name, func(t testing.TB) {
			index, b := open(t)
			p.check(newIndexSubject(t, index, b))
		}) {
			names = append(names, p.name)
		}
	}
	return names
}

// Properties returns the names of RunSource's and of RunIndex's own properties.
func Properties() (names []string) {
	for _, p := range indexProperties() {
		names = append(names, p.name)
	}
	return names
}

func fails(t *testing.T, name string, check func(testing.TB)) bool {
	l := new(lenient)
	t.Run(name, func(t *testing.T) {
		l.TB = t
		check(l)
	})
	return l.failed.Load()
}

// A lenient test notes that it failed, and ends as if it had been skipped.
type lenient struct {
	testing.TB
	failed atomic.Bool
}

func (l *lenient) Error(args ...any) { l.Helper(); l.failed.Store(true); l.Log(args...) }
func (l *lenient) Errorf(format string, args ...any) {
	l.Helper()
	l.Error(fmt.Sprintf(format, args...))
}
func (l *lenient) Fatal(args ...any) { l.Helper(); l.Error(args...); l.SkipNow() }
func (l *lenient) Fatalf(format string, args ...any) {
	l.Helper()
	l.Fatal(fmt.Sprintf(format, args...))
}
