package fleet_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
)

// TestAskAll: all nodes are asked at once, and nodes with the same name are told apart by
// their IDs.
func TestAskAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := fleettest.NewLog()
		var last *fleet.Node
		for i := range 6 {
			node, err := fleet.NewWith(log.Connect(), &recorder{}, fleet.Config{Name: "same", Answer: func(question string) string { return fmt.Sprint(question, i) }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(node.Close)
			if err := node.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			last = node
		}
		time.Sleep(simLease / 4)
		synctest.Wait()
		began := time.Now()
		answers := last.Ask(t.Context(), "hello ")
		var texts []string
		for _, a := range answers {
			texts = append(texts, a.Text)
		}
		slices.Sort(texts)
		if got, want := strings.Join(texts, ", "), "hello 0, hello 1, hello 2, hello 3, hello 4, hello 5"; got != want || time.Since(began) > 0 {
			t.Errorf("got %s after %v, want %s", got, time.Since(began), want)
		}
		if !slices.IsSortedFunc(answers, func(a, b fleet.Answer) int { return strings.Compare(a.ID, b.ID) }) {
			t.Errorf("got %+v, which is not sorted", answers)
		}
	})
}
