package tokentest

import (
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// RunSource checks an implementation of tokencache.Source: each of its promises is
// a subtest, with an instance of its own from open, which must be empty. The
// package's documentation lists the properties.
//
// Open must clean up after itself, with t.Cleanup. Run it under the race detector to
// find what is unsafe for concurrent use.
func RunSource[R any](t *testing.T, open func(testing.TB) (tokencache.Source[R], Backend)) {
	t.Helper()
	for _, p := range sourceProperties {
		t.Run(p.name, func(t *testing.T) {
			src, b := open(t)
			p.check(newSubject(t, erase(src), b))
		})
	}
}

// A property is one promise of an implementation, and the test of it.
type property struct {
	name  string
	check func(*subject)
}

var sourceProperties = []property{
	{"Absence", checkAbsence},
	{"Confirmation", checkConfirmation},
	{"WrongSecret", checkWrongSecret},
	{"ExactName", checkExactName},
	{"Removal", checkRemoval},
	{"Replacement", checkReplacement},
	{"Secrets", checkSecrets},
	{"Disabling", checkDisabling},
	{"Records", checkRecords},
	{"OwnRecord", checkOwnRecord},
	{"KeptSecret", checkKeptSecret},
	{"Holder", checkHolder},
	{"Notice", checkNotice},
	{"Overlap", checkOverlap},
	{"ChangeBeforeNotice", checkChangeBeforeNotice},
	{"NoLock", checkNoLock},
	{"EverySubscriber", checkEverySubscriber},
	{"EndOfSubscription", checkEndOfSubscription},
	{"Concurrency", checkConcurrency},
	{"Memory", checkMemory},
	{"Freshness", checkFreshness},
	{"Errors", checkErrors},
	{"Context", checkContext},
	{"Silence", checkSilence},
}
