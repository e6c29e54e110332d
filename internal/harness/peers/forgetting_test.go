package peers_test

import (
	"os"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

// TestForgetting holds svctoken's rows of the comparison to its promise, and has
// the table in the documentation show every peer. What the peers do is theirs: a
// busy machine may show it in another light.
func TestForgetting(t *testing.T) {
	outcomes := peers.Forgetting()
	found := 0
	for _, o := range outcomes {
		if o.Peer == "svctoken" {
			found++
			if o.Saw != "new" || o.Stays != "new" || o.Blocked {
				t.Errorf("svctoken, by %s: got %+v", o.Kind, o)
			}
		}
	}
	if found != 2 {
		t.Errorf("svctoken has %d rows, want 2", found)
	}
	doc, err := os.ReadFile("../../../docs/forgetting.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if !strings.Contains(string(doc), "\n| "+o.Peer+" | ") {
			t.Errorf("docs/forgetting.md has no row for %s", o.Peer)
		}
	}
}
