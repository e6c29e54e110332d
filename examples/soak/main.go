// Command soak attacks a group of caches in every way that SECURITY.md lists, beside
// good callers, and prints what the good callers met.
//
//	go run ./examples/soak -for 10m
//
// It has two caches: one over an index in memory, whose reads can be made to hang or
// fail, and one over a second index, as a file would stand beside it. All hashes are
// PBKDF2 with a cost of 10 000. Each attack gets an equal part of the time. It ends
// with 1 if a verdict was wrong: a revoked token confirmed, a good one refused.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	total := flag.Duration("for", 20*time.Second, "how long to run, over all attacks")
	callers := flag.Int("attackers", 64, "how many attackers send at once")
	flag.Parse()
	if !run(context.Background(), os.Stdout, *total, *callers) {
		os.Exit(1)
	}
}

// run runs all attacks, prints the table, and reports whether no verdict was wrong.
func run(ctx context.Context, out *os.File, total time.Duration, callers int) bool {
	fmt.Fprintf(out, "%-34s %8s  %-29s %-29s %7s %7s %7s %9s\n",
		"attack", "sent/s", "cached: p50 p99 p99.9", "first use: p50 p99 p99.9", "failed", "wrong", "MB", "goroutines")
	w, err := newWorld()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return false
	}
	wrong := 0
	for _, a := range attacks {
		r := w.endure(ctx, a, total/time.Duration(len(attacks)), callers)
		fmt.Fprintln(out, r)
		wrong += r.wrong
	}
	fmt.Fprintf(out, "%+v\n", w.group.Stats())
	if err := w.close(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "something still runs:", err)
		return false
	}
	fmt.Fprintf(out, "%d wrong verdicts\n", wrong)
	return wrong == 0
}
