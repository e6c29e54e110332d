package peers_test

import (
	"os"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/peers"
)

// TestForgetting holds svctoken's rows of the comparison to its promise, and the
// table in the documentation to what comes out here.
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
	doc, err := os.ReadFile("../../docs/forgetting.md")
	if err != nil {
		t.Fatal(err)
	}
	if table := peers.Table(outcomes); !strings.Contains(string(doc), table) {
		t.Errorf("docs/forgetting.md does not have this table:\n%s", table)
	}
}
