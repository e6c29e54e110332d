package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/svctoken/svctoken/internal/harness/peers"
	"github.com/svctoken/svctoken/internal/harness/peers/options"
	"github.com/svctoken/svctoken/internal/harness/peers/turns"
)

// A report has what was measured.
type report struct {
	hits, many, cores, beside, crowd, evictions peers.Comparison
	growth                                      []peers.Growth

	instructions    []peers.InstructionCount // nil: not known here
	options         []float64                // instructions by option; nil: not known here
	optionTimes     peers.Comparison
	writes          []float64 // nil: not known here
	miss            turns.Times
	missAllocations float64
	full            peers.Full
	memory          []peers.Footprint
	ratios          []peers.Ratio
	files           map[string]map[string]float64
	wrap            []allocations
	overHTTP        string // the table of command overhttp
	coldStarts      []coldStart
}

// show writes a ratio: best rounds, median, quartiles.
func show(r turns.Ratio) string {
	return fmt.Sprintf("%.2f × (%.2f; %.2f to %.2f)", r.Best, r.Median, r.Q1, r.Q3)
}

// scaling returns how many times as much several goroutines do as one, by the processor
// time of each operation. It goes by medians: that clock lags now and then, and the best
// of rounds on two cores is then the one in which it lagged.
func (r *report) scaling(name string, goroutines int) float64 {
	of := func(n int) float64 { return r.cores.Times[fmt.Sprintf("%s, %d", name, n)].Median() }
	return float64(goroutines) * of(1) / of(goroutines)
}

func (r *report) measureHits() error { r.hits = peers.Hits(rounds); return nil }

func (r *report) writeHits(p *page) {
	p.line("\n## Hits\n\n`go run -C internal/harness/peers ./report -print hits`\n")
	p.line("From the Authorization header's value to the verdict, with 1 000 live tokens unless it says otherwise. A floor is one SHA-256 over")
	p.line("16 bytes and a secret of so many bytes, by `sha256.Sum256`, and one comparison; a hit pads its blocks itself, which takes less of")
	p.line("the time than `Sum256`. Secrets of 64 bytes come in padded base64, as cloud-on-k8s sends them. The caches marked bare are given a plaintext")
	p.line("key: they neither parse a bearer nor hash a secret, and no token cache should be used this way.\n")
	p.line("![time of a hit](%s/hit.svg)", plots)
	p.table("contestant", "best, ns", "median, ns", "against the floor of 22 bytes")
	for _, name := range r.sorted() {
		t := r.hits.Times[name]
		p.line("| %s | %.0f | %.0f | %s |", name, t.Best(), t.Median(), show(r.hits.Ratio(name, "floor 22")))
	}
}

// sorted returns the contestants of hits, the fastest first.
func (r *report) sorted() []string {
	return slices.SortedFunc(slices.Values(r.hits.Names), func(a, b string) int {
		return cmp.Compare(r.hits.Times[a].Best(), r.hits.Times[b].Best())
	})
}

func (r *report) measureInstructions() (err error) {
	if r.instructions, err = peers.Instructions(); err != nil && !errors.Is(err, peers.ErrNoSteps) {
		return err
	}
	if r.writes, err = peers.Writes(); err != nil && !errors.Is(err, peers.ErrNoValgrind) {
		return err
	}
	return nil
}

func (r *report) writeInstructions(p *page) {
	p.line("\n### Instructions and writes\n\n`go run -C internal/harness/peers ./report -print instructions`\n")
	if r.writes == nil {
		p.line("What a hit writes was not counted: valgrind is missing.")
	} else {
		p.line("Outside of its goroutine's stack, a hit writes to %d cache line(s), counted under valgrind.", len(r.writes))
	}
	if r.instructions == nil {
		p.line("Instructions were not counted: that needs Linux on amd64, and the permission to trace.")
		return
	}
	p.line("Instructions are exact, stepped one by one with ptrace, on the processor itself, with all of its extensions.")
	p.table("secret, bytes", "hit", "floor")
	for _, c := range r.instructions {
		p.line("| %d | %.0f | %.0f |", c.Secret, c.Hit, c.Floor)
	}
}

func (r *report) measureOptions() (err error) {
	if r.options, _, err = peers.OptionInstructions(); err != nil && !errors.Is(err, peers.ErrNoSteps) {
		return err
	}
	r.optionTimes = peers.OptionTimes(rounds)
	return nil
}

func (r *report) writeOptions(p *page) {
	p.line("\n### What options cost a hit\n\n`go run -C internal/harness/peers ./report -print options`\n")
	p.line("Each option alone, in a setting other than its default, and all at once. Where a name falls in the hash table is random and can")
	p.line("add up to ten instructions; one hit in 16 reads the clock, and a count without that one is 85 less. A lease is what a node of a fleet")
	p.line("answers with: it reads the clock.")
	p.table("set", "instructions", "ns", "against nothing set")
	for i, o := range options.All {
		count := "not known here"
		if r.options != nil {
			count = fmt.Sprintf("%.0f", r.options[i])
		}
		p.line("| %s | %s | %.0f | %s |", o.Name, count, r.optionTimes.Times[o.Name].Best(), show(r.optionTimes.Ratio(o.Name, options.None)))
	}
}

func (r *report) measureCores() error {
	r.cores = peers.Cores(31)
	r.beside = peers.Beside(51)
	return nil
}

func (r *report) writeCores(p *page) {
	p.line("\n## Cores\n\n`go run -C internal/harness/peers ./report -print cores`\n")
	p.line("What one operation takes of the processor when one goroutine does them, when two do, on two cores, and when %d do, as in a server", peers.Many)
	p.line("that has one for each connection. What takes no more for two than for one scales.")
	p.table("what", "1 goroutine, ns", "2, ns", fmt.Sprintf("%d, ns", peers.Many), "2 against 1, throughput")
	for _, name := range []string{"floor", "1000 tokens", "one hot token"} {
		of := func(n int) float64 { return r.cores.Times[fmt.Sprintf("%s, %d", name, n)].Median() }
		p.line("| %s | %.0f | %.0f | %.0f | %.2f × |", name, of(1), of(2), of(peers.Many), r.scaling(name, 2))
	}
	p.line("\nOne core hits, while the other does something without a pause:")
	p.table("what the other core does", "a hit, best, ns", "against nothing")
	for _, name := range r.beside.Names {
		p.line("| %s | %.0f | %s |", name, r.beside.Times[name].Best(), show(r.beside.Ratio(name, "nothing")))
	}
}

func (r *report) measureMisses() error {
	r.missAllocations = peers.MissAllocations()
	r.miss = peers.Misses(rounds)
	r.crowd = peers.Crowd(45)
	return nil
}

func (r *report) writeMisses(p *page) {
	p.line("\n## Misses\n\n`go run -C internal/harness/peers ./report -print misses`\n")
	p.line("An uncontended miss takes %.1f µs of the processor in the best round, %.1f µs in the median, and %.0f allocations: it loads, stores, and", r.miss.Best()/1e3, r.miss.Median()/1e3, r.missAllocations)
	p.line("displaces. Its source takes next to nothing.\n")
	p.line("10 000 callers of one token cause one load. From the source's answer until the last of them has its own, one core works for")
	ms := func(name string) float64 { return r.crowd.Times[name].Median() / 1e6 }
	p.line("%.1f ms in the median; to wake as many goroutines that wait for a channel, %.1f ms; and %.1f ms if their stacks have grown from", ms("svctoken"), ms("bare channel"), ms("bare channel, grown stacks"))
	p.line("2 to 4 kB before, as those of the callers have, which decode and hash.")
}

// others are the numbers of tokens beside those that are evicted.
var others = []int{1e3, 1e4, 1e5}

func (r *report) measureEvictions() error {
	r.evictions = peers.Evictions(31, others...)
	r.full = peers.FullCache(1e6)
	return nil
}

func (r *report) writeEvictions(p *page) {
	p.line("\n## Evictions\n\n`go run -C internal/harness/peers ./report -print evictions`\n")
	p.line("An account of ten tokens is evicted from two caches, by wildcard:")
	p.table("other tokens in each cache", "best, µs", "median, µs")
	for _, name := range r.evictions.Names {
		t := r.evictions.Times[name]
		p.line("| %s | %.1f | %.1f |", strings.TrimSuffix(name, " others"), t.Best()/1e3, t.Median()/1e3)
	}
	p.line("\nA cache of 10^6 tokens of one account is emptied at once, while another core misses and evicts elsewhere in the group. This is by the")
	p.line("clock on the wall: on a busy machine, a wait for the processor counts.")
	p.table("what", "took, ms", "what a miss with an eviction took meanwhile: p99, ms", "the longest, ms")
	for _, h := range r.full.Holds {
		p.line("| %s | %.2f | %.3f | %.2f |", h.Name, h.Took.Seconds()*1e3, h.P99.Seconds()*1e3, h.Longest.Seconds()*1e3)
	}
	p.line("\nA cycle of Go's collector takes %.0f ms of the processor beside that cache, and %.0f ms beside none.", r.full.Cycle/1e6, r.full.EmptyCycle/1e6)
}

func (r *report) measureMemory() error { r.memory = peers.Memory(1e6); return nil }

func (r *report) writeMemory(p *page) {
	p.line("\n## Memory\n\n`go run -C internal/harness/peers ./report -print memory`\n")
	p.line("A million tokens, whose qualified names have 36 bytes, all in one account. The bare caches are keyed by the qualified name, and keep a")
	p.line("digest and a record; they know no accounts, and so can evict one only by looking at everything.\n")
	p.line("![memory for a token](%s/memory.svg)", plots)
	p.table("cache", "bytes a token")
	for _, f := range r.memory {
		p.line("| %s | %.0f |", f.Name, f.PerToken)
	}
}

func (r *report) measureRatios() error { r.ratios = peers.HitRatios(); return nil }

func (r *report) writeRatios(p *page) {
	p.line("\n## Hit ratios\n\n`go run -C internal/harness/peers ./report -print ratios`\n")
	p.line("The replacement is S3-FIFO, with the mark that a hit leaves. LRU with marks is what it replaced.\n")
	p.line("![hit ratios](%s/hitratio.svg)", plots)
	p.table("requests", "capacity", "svctoken", "LRU with marks", "exact LRU", "2Q", "otter")
	for _, h := range r.ratios {
		p.line("| %s | %.0f %% | %.3f | %.3f | %.3f | %.3f | %.3f |", h.Trace, 100*h.Capacity, h.Svctoken, h.Marked, h.LRU, h.TwoQueue, h.Otter)
	}
}

// measureFiles runs the benchmarks of filesource.
func (r *report) measureFiles() error {
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", "^(BenchmarkOpen|BenchmarkReload)$", "-benchmem", "-cpu", "1", ".")
	cmd.Dir = root + "/filesource"
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	r.files = make(map[string]map[string]float64)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		units := make(map[string]float64)
		for i := 2; i+1 < len(fields); i += 2 {
			if units[fields[i+1]], err = strconv.ParseFloat(fields[i], 64); err != nil {
				return err
			}
		}
		r.files[strings.TrimPrefix(fields[0], "Benchmark")] = units
	}
	return nil
}

func (r *report) writeFiles(p *page) {
	p.line("\n## Files\n\n`go test -run '^$' -bench . -benchmem -cpu 1 ./filesource`\n")
	p.line("A file of 100 000 lines is parsed at %.0f MB/s. A reload after one line changed takes %.2f × the memory of the parse.", r.files["Open"]["MB/s"], r.files["Reload"]["B/op"]/r.files["Open"]["B/op"])
}
