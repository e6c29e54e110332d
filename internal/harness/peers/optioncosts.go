package peers

import (
	"context"
	"os"

	"github.com/svctoken/svctoken/internal/harness/peers/options"
	"github.com/svctoken/svctoken/internal/harness/peers/turns"
	"github.com/svctoken/svctoken/tokencache"
)

// OptionInstructions returns how many instructions a hit takes with each of
// options.All, in their order, and how many it takes to read the clock, which differs
// from machine to machine.
func OptionInstructions() (counts []float64, clock float64, err error) {
	dir, binary, err := buildHits()
	if err != nil {
		return nil, 0, err
	}
	defer os.RemoveAll(dir)
	if clock, err = instructions(binary, "-clock"); err != nil {
		return nil, 0, err
	}
	for _, o := range options.All {
		count, err := instructions(binary, "-option", o.Name)
		if err != nil {
			return nil, 0, err
		}
		counts = append(counts, count)
	}
	return counts, clock, nil
}

// OptionTimes compares hits with each of options.All, by its name.
func OptionTimes(rounds int) Comparison {
	var contestants []turns.Contestant
	for _, o := range options.All {
		g := must(options.NewGroup(o, tokencache.Source[struct{}](present{})))
		defer g.Close()
		h := &Host{Group: g}
		for i := range 1000 {
			h.Headers = append(h.Headers, Header(i, 22, false))
			must(g.Authenticate(context.Background(), h.Headers[i]))
		}
		contestants = append(contestants, Hit(o.Name, h))
	}
	return compare(turns.Thread, rounds, contestants...)
}
