package main

import (
	"cmp"
	"fmt"
	"log"
	"slices"
	"strings"

	"github.com/svctoken/svctoken/internal/harness/peers"
	"github.com/svctoken/svctoken/internal/harness/peers/turns"
)

// A target is the goal for a figure, and whether it is met.
type target struct {
	what, want, measured string
	met                  bool
}

// atMost is a target for a ratio: of the best rounds, or the median, whichever is less.
// Other programs on the machine make a round longer, never shorter.
func atMost(what string, most float64, r turns.Ratio) target {
	return target{what, fmt.Sprintf("at most %.2f ×", most), show(r), min(r.Best, r.Median) <= most}
}

func limit(what string, most, measured float64, format string) target {
	return target{what, "at most " + fmt.Sprintf(format, most), fmt.Sprintf(format, measured), measured <= most}
}

// targets returns the targets of this page, in order.
func (r *report) targets() []target {
	return slices.Concat(r.hitTargets(), r.manyTargets(), r.costTargets(), r.startTargets())
}

func (r *report) hitTargets() (all []target) {
	for _, n := range peers.SecretLengths {
		all = append(all, atMost(fmt.Sprintf("a hit against its floor, 1 000 tokens, secrets of %d bytes", n), 1.2, r.hits.Ratio(fmt.Sprint("hit ", n), fmt.Sprint("floor ", n))))
	}
	hit := r.hits.Ratio("kubernetes", "hit 22")
	all = append(all,
		atMost("a hit on one hot token against its floor", 1.2, r.hits.Ratio("one hot token", "floor 22")),
		target{"Kubernetes' token cache against a hit", "at least 6 ×", show(hit), max(hit.Best, hit.Median) >= 6},
		atMost("a hit in the second of two caches against one in the first", 1.1, r.hits.Ratio("second of two caches", "hit 22")),
		atMost("refusing a wrong secret for a cached name against a hit", 3, r.hits.Ratio("wrong secret", "hit 22")),
	)
	for _, name := range []string{"1000 tokens", "one hot token"} {
		scaling := r.scaling(name, 2) / r.scaling("floor", 2)
		all = append(all, target{"two cores against the floor's own scaling, " + name, "at least 0.95 ×", fmt.Sprintf("%.2f ×", scaling), scaling >= 0.95})
	}
	return all
}

func (r *report) manyTargets() (all []target) {
	for _, t := range []struct {
		tokens   int
		against  string
		most     float64
		accounts string
	}{
		{1e5, peers.BareOtter, 0.8, peers.OneAccount},
		{1e5, peers.BareLRU, 1.15, peers.OneAccount},
		{1e6, peers.BareOtter, 0.7, peers.OneAccount},
		{1e6, peers.BareLRU, 1.1, peers.OneAccount},
		{1e6, peers.OneAccount, 1.2, peers.ThousandAccounts},
	} {
		ratio := r.many.Ratio(peers.Among(t.accounts, t.tokens), peers.Among(t.against, t.tokens))
		all = append(all, atMost(fmt.Sprintf("a hit among %s tokens, %s, against %s", thousands(t.tokens), t.accounts, t.against), t.most, ratio))
	}
	return all
}

func (r *report) costTargets() []target {
	all := []target{
		limit("memory for a token, full cache of 10^6", 163, r.memory[0].PerToken, "%.1f bytes"),
		{"an uncontended miss, above its source", "at most 2.5 µs and 9 allocations",
			fmt.Sprintf("best %.1f µs, median %.1f µs, %.0f allocations", r.miss.Best()/1e3, r.miss.Median()/1e3, r.missAllocations),
			r.miss.Best() <= 2500 && r.missAllocations <= 9},
		atMost("serving 10 000 callers of one load against a bare channel on stacks that have grown", 1.5, r.crowd.Ratio("svctoken", "bare channel, grown stacks")),
	}
	for _, h := range r.full.Holds {
		all = append(all, limit(fmt.Sprintf("p99 of a miss with an eviction during %s of 10^6 tokens", h.Name), 0.2, h.P99.Seconds()*1e3, "%.3f ms"))
	}
	for _, g := range r.growth {
		all = append(all, limit(fmt.Sprintf("%s: the power with which it grows with the %s", g.Name, g.Of), steepest(g), g.Exponent(), "%.2f"))
	}
	return all
}

// steepest is the power of the work, or of the data beside it, with which an operation
// may grow. In proportion is 1, and not at all is 0; the rest allows for the processor's
// caches, which hold 10^3 entries but not 10^6, and for sorting.
func steepest(g peers.Growth) float64 {
	if g.Work {
		return 1.2
	}
	return 0.4
}

func (r *report) startTargets() (all []target) {
	for _, w := range r.wrap {
		all = append(all, target{w.what + ", a request of five headers", fmt.Sprintf("at most %d allocations and %d bytes", w.most, w.mostBytes),
			fmt.Sprintf("%d and %d bytes", w.count, w.bytes), w.count <= w.most && w.bytes <= w.mostBytes})
	}
	for _, c := range r.coldStarts {
		all = append(all, limit("answers 503 at a cold start, "+c.what, 0, c.away+c.failed, "%.0f"))
	}
	return all
}

// missed is the table's word for a target that is missed.
const missed = "**missed**"

func (r *report) writeTargets(p *page) {
	p.line("\n## Against its targets\n")
	p.line("What is missed has its reason [above](#missed).")
	p.table("what", "target", "measured", "")
	for _, t := range r.targets() {
		verdict := "met"
		if !t.met {
			verdict = missed
		}
		p.line("| %s | %s | %s | %s |", t.what, t.want, t.measured, verdict)
	}
}

// unexplained returns the missed targets that the page's own text does not name.
func (r *report) unexplained(text string) (whats []string) {
	for _, t := range r.targets() {
		if !t.met && !strings.Contains(text, t.what) {
			whats = append(whats, t.what)
		}
	}
	return whats
}

// warn lists the missed targets that need a reason, which a person has to write.
func (r *report) warn(text string) {
	for _, what := range r.unexplained(text) {
		log.Printf("missed, and without a reason in the section Missed: %s", what)
	}
}

// thousands returns a number as text, with spaces between its thousands.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + " " + text[i:]
	}
	return text
}

func (r *report) measureMany() error { r.many = peers.ManyTokens(11); return nil }

func (r *report) writeMany(p *page) {
	p.line("\n### Many live tokens\n\n`go run -C internal/harness/peers ./report -print many`\n")
	p.line("Tokens in random order, from headers that are at hand. With many tokens the time is that of cache misses, on the table and the entry.")
	p.line("The bare caches have the bearer itself as their key, and the map its SHA-256.")
	p.table("live tokens", "contestant", "best, ns", "median, ns", "against svctoken, one account")
	for _, n := range peers.LiveTokens {
		names := slices.SortedFunc(slices.Values(peers.ManyNames), func(a, b string) int {
			return cmp.Compare(r.many.Times[peers.Among(a, n)].Best(), r.many.Times[peers.Among(b, n)].Best())
		})
		for _, name := range names {
			t := r.many.Times[peers.Among(name, n)]
			p.line("| %s | %s | %.0f | %.0f | %s |", thousands(n), name, t.Best(), t.Median(), show(r.many.Ratio(peers.Among(name, n), peers.Among(peers.OneAccount, n))))
		}
	}
}
