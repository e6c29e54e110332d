package fair_test

import (
	"testing"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

// TestCount: both limits, the total's and the account's, are reached and left again.
func TestCount(t *testing.T) {
	c := fair.Count[string]{Limit: 3, PerAccount: 2}
	full := func(account string, want bool) {
		t.Helper()
		if got := c.FullFor(account); got != want {
			t.Errorf("%s: full %v, want %v, with %d in all", account, got, want, c.All())
		}
	}
	full("a", false)
	c.Add("a")
	c.Add("a")
	full("a", true)
	full("b", false)
	c.Add("b")
	full("c", true)
	c.Remove("a")
	full("c", false)
	full("a", false)
	c.Remove("a")
	c.Remove("b")
	if c.All() != 0 || c.Accounts() != 0 || c.Full() {
		t.Errorf("%d and %d accounts are left", c.All(), c.Accounts())
	}
}
