// Command soak attacks a group of caches in every way that SECURITY.md lists, beside
// good callers, and prints what the good callers met.
//
//	go run ./examples/soak -for 10m
//	go run ./examples/soak -for 2m -attackers 2000 -only hashes
//
// It has two caches: one over an index in memory, whose reads can be made to hang or
// fail, and one over a second index, as a file would stand beside it. Each attack gets
// an equal part of the time, and the last is all of them at once.
//
// Every verdict is checked, the attackers' too. A verdict is wrong if a wrong, an
// unknown or a revoked token is confirmed, whether its revocation had returned before
// it was sent or it was never good; if a good one is refused; or if it is for another
// token. It ends with 1 if a verdict was wrong, if the group's counters are not what
// the callers have counted, if a good token got no answer though its source was up, if
// two hashes of one attacked account got their turns while a good token waited for its
// own, or if a load was left a second after an attack.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func main() {
	var o options
	flag.DurationVar(&o.total, "for", 24*time.Second, "how long to run, over all attacks")
	flag.IntVar(&o.attackers, "attackers", 64, "how many attackers send at once")
	flag.StringVar(&o.only, "only", "", "run the attacks whose name contains this")
	flag.IntVar(&o.bcrypt, "bcrypt", 14, "the cost of the most expensive hashes; each more doubles their time")
	flag.Parse()
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
	if !run(context.Background(), os.Stdout, o) {
		os.Exit(1)
	}
}

type options struct {
	total     time.Duration
	attackers int
	only      string
	bcrypt    int
}

// check says what is wrong with the options.
func (o options) check() error {
	switch {
	case o.total <= 0:
		return fmt.Errorf("-for %v: it must be positive", o.total)
	case o.attackers <= 0:
		return fmt.Errorf("-attackers %d: it must be positive", o.attackers)
	case o.bcrypt < bcrypt.MinCost || o.bcrypt > bcrypt.MaxCost:
		return fmt.Errorf("-bcrypt %d: a cost is from %d to %d", o.bcrypt, bcrypt.MinCost, bcrypt.MaxCost)
	case len(o.chosen()) == 0:
		var names []string
		for _, a := range attacks {
			names = append(names, strconv.Quote(a.name))
		}
		return fmt.Errorf("-only %q: no attack's name contains it; there are %s", o.only, strings.Join(names, ", "))
	}
	return nil
}

// chosen returns the attacks to run.
func (o options) chosen() (chosen []attack) {
	for _, a := range attacks {
		if strings.Contains(a.name, o.only) {
			chosen = append(chosen, a)
		}
	}
	return chosen
}

// run runs the attacks, prints the table, and reports whether all was well.
func run(ctx context.Context, out io.Writer, o options) (ok bool) {
	chosen := o.chosen()
	w, err := newWorld(o.bcrypt)
	if err != nil {
		fmt.Fprintln(out, err)
		return false
	}
	fmt.Fprintf(out, "%d attackers; one hash of a good token takes %v alone\n\n", o.attackers, w.oneHash().Round(10*time.Microsecond))
	fmt.Fprintln(out, header)
	ok = true
	for _, a := range chosen {
		r := w.endure(ctx, a, o.total/time.Duration(len(chosen)), o.attackers)
		fmt.Fprintln(out, r)
		ok = r.ok() && ok
	}
	if err := w.close(ctx); err != nil {
		fmt.Fprintln(out, "something still runs:", err)
		return false
	}
	counted, stats := w.tally.stats(), w.group.Stats()
	fmt.Fprintf(out, "\ncallers counted %+v\n", counted)
	if stats != counted {
		fmt.Fprintf(out, "the group counted %+v\n", stats)
		ok = false
	}
	for name, st := range w.group.Caches() {
		fmt.Fprintf(out, "cache %s: %+v\n", name, st)
	}
	fmt.Fprintf(out, "%d authentications, %d wrong verdicts\n", w.tally.all(), w.tally.wrong.Load())
	return ok && w.tally.wrong.Load() == 0
}
