// Command report measures svctoken against its peers and writes
// docs/performance.md, with its plots.
//
//	go run -C internal/peers ./report
//
// It takes a few minutes, and wants an otherwise idle machine.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/svctoken/svctoken/internal/peers"
)

const (
	root  = "../.."
	docs  = root + "/docs"
	plots = "performance" // below docs
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	if err := os.MkdirAll(filepath.Join(docs, plots), 0o777); err != nil {
		return err
	}
	r := &report{
		hits:    bench(".", "^(BenchmarkHit|BenchmarkDisturbed|BenchmarkMiss|BenchmarkCrowd)$", "1"),
		scaling: bench(".", "^BenchmarkScaling$", "1,2"),
		beside:  bench(".", "^BenchmarkBesideMisses$", "2"),
		evict:   bench(root+"/tokencache", "^BenchmarkEvict$", "1"),
		files:   bench(root+"/filesource", "^(BenchmarkOpen|BenchmarkReload)$", "1"),
	}
	log.Print("writes")
	var err error
	if r.writes, err = peers.Writes(); err != nil && !errors.Is(err, peers.ErrNoValgrind) {
		return err
	}
	log.Print("memory")
	r.memory = peers.Memory(1e6)
	log.Print("hit ratios")
	r.ratios = peers.HitRatios()
	if err := r.plot(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(docs, "performance.md"), []byte(r.markdown()), 0o666)
}

// Metrics are a benchmark's medians by unit, and results those of a run by the
// benchmark's name.
type (
	metrics map[string]float64
	results map[string]metrics
)

// bench runs benchmarks, each five times, and returns the medians. All of them run
// once before one runs again, as the machine may be faster now and slower then.
func bench(dir, match, cpu string) results {
	log.Printf("%s %s", dir, match)
	var out []byte
	for range 5 {
		cmd := exec.Command("go", "test", "-run", "^$", "-bench", match, "-benchmem", "-count", "1", "-benchtime", "0.5s", "-cpu", cpu, "-timeout", "30m", ".")
		cmd.Dir = dir
		once, err := cmd.Output()
		if err != nil {
			log.Fatalf("%s: %v\n%s", match, err, once)
		}
		out = append(out, once...)
	}
	samples := make(map[string]map[string][]float64)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if samples[name] == nil {
			samples[name] = make(map[string][]float64)
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				samples[name][fields[i+1]] = append(samples[name][fields[i+1]], v)
			}
		}
	}
	medians := make(results)
	for name, units := range samples {
		medians[name] = make(metrics)
		for unit, values := range units {
			slices.Sort(values)
			medians[name][unit] = values[len(values)/2]
		}
	}
	return medians
}

type report struct {
	hits, scaling, beside, evict, files results
	writes                              []float64
	memory                              []peers.Footprint
	ratios                              []peers.Ratio
}

func (r *report) ns(rs results, name string) float64 { return rs[name]["ns/op"] }

func (r *report) markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	floor, hit := r.ns(r.hits, "Hit/floor"), r.ns(r.hits, "Hit/svctoken")
	p("# Performance\n")
	p("Written by `go run -C internal/peers ./report`, which measures everything on this page, in one go; each figure is the median of")
	p("five. Machines differ, so compare the figures of one run with each other. This run: %s, %s/%s, %d cores (%s).\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cpuModel())

	p("## Against its targets\n")
	p("| what | target | measured |\n| --- | --- | --- |")
	row := func(what, target, format string, args ...any) {
		p("| %s | %s | %s |", what, target, fmt.Sprintf(format, args...))
	}
	row("a hit, allocations", "0", "%.0f", r.hits["Hit/svctoken"]["allocs/op"])
	if r.writes != nil {
		row("cache lines that a hit writes, but for its goroutine's stack", "none, or rarely", "%d, the counter's", len(r.writes))
	}
	row("a hit against the floor (one SHA-256 of 38 bytes, one comparison)", "at most 1.6 ×", "%.2f ×", hit/floor)
	row("a hit against Kubernetes' token cache", "at least 4.5 × faster", "%.2f × faster", r.ns(r.hits, "Hit/kubernetes")/hit)
	scaling := func(name string) float64 {
		return r.ns(r.scaling, "Scaling/"+name) / r.ns(r.scaling, "Scaling/"+name+"-2")
	}
	row("two cores against one, 1 000 tokens", "at least 1.9 ×", "%.2f ×; the floor alone %.2f ×", scaling("tokens=1000"), scaling("floor"))
	row("two cores against one, one hot token", "at least 1.9 ×", "%.2f ×", scaling("tokens=1"))
	row("a token in the second of two caches against a direct hit", "at most 1.25 ×", "%.2f ×", r.ns(r.hits, "Hit/svctoken-second-of-two")/hit)
	small, large := r.evict["Evict/others=1000"]["ns/evict"], r.evict["Evict/others=1000000"]["ns/evict"]
	row("wildcard eviction of 10 tokens from two caches, of 10^6 against 10^3", "at most 1.5 ×, below 10 µs", "%.2f ×, %.1f µs", large/small, large/1000)
	row("memory for a cached token at 10^6", "at most 260 bytes", "%.0f bytes", r.memory[0].PerToken)
	miss := r.hits["Miss"]
	row("an uncontended miss, above its source", "at most 2 µs and 6 allocations", "%.1f µs, %.0f allocations", miss["ns/op"]/1000, miss["allocs/op"])
	row("10 000 callers of one token: the last after the source's answer", "1 source read, 5 ms", "1 source read, %.1f ms; bare channel %.1f ms (on one core)", r.hits["Crowd/svctoken"]["µs/last"]/1000, r.hits["Crowd/floor"]["µs/last"]/1000)
	row("parsing a file of 100 000 lines", "at least 150 MB/s", "%.0f MB/s", r.files["Open"]["MB/s"])
	row("reload of it after one line changed, memory against the parse", "no more", "%.2f ×", r.files["Reload"]["B/op"]/r.files["Open"]["B/op"])
	p("")

	p("## Hits\n\n`go -C internal/peers test -run '^$' -bench '^BenchmarkHit$' -benchmem .`\n")
	p("From the Authorization header's value to the verdict, with 1 000 live tokens. The caches marked bare are given a plaintext key:")
	p("they neither parse a bearer nor hash a secret, and no token cache should be used so.\n")
	p("![time of a hit](%s/hit.svg)\n", plots)
	p("| cache | ns | allocations | against the floor |\n| --- | --- | --- | --- |")
	for _, name := range sorted(r.hits, "Hit/") {
		m := r.hits[name]
		p("| %s | %.0f | %.0f | %.2f × |", strings.TrimPrefix(name, "Hit/"), m["ns/op"], m["allocs/op"], m["ns/op"]/floor)
	}
	p("\n`go -C internal/peers test -run '^$' -bench '^BenchmarkScaling$' -cpu 1,2 .`\n\n![hits by cores](%s/scaling.svg)\n", plots)
	p("`go -C internal/peers test -run '^$' -bench '^BenchmarkDisturbed$' -cpu 1 .` has one goroutine hit, while another shares its core and")
	p("evicts another account by wildcard 10 000 times a second, or fills another cache with 1 000 tokens and clears it 10 times a second:\n")
	p("| disturbance | ns | throughput against quiet |\n| --- | --- | --- |")
	for _, name := range []string{"quiet", "evictions", "clearings"} {
		ns := r.ns(r.hits, "Disturbed/"+name)
		p("| %s | %.0f | %.2f × |", name, ns, r.ns(r.hits, "Disturbed/quiet")/ns)
	}
	p("\n`go -C internal/peers test -run '^$' -bench '^BenchmarkBesideMisses$' -cpu 2 .` has one core hit, while the other loads and evicts a")
	p("token without a pause. In another group it shares nothing with the hits but the machine:\n")
	p("| where the other core loads and evicts | ns a hit | misses a second |\n| --- | --- | --- |")
	for _, where := range []string{"another-group", "another-cache", "same-cache", "same-account"} {
		m := r.beside["BesideMisses/"+where+"-2"]
		p("| %s | %.0f | %.0f |", strings.ReplaceAll(where, "-", " "), m["ns/op"], m["misses/s"])
	}

	p("\n## Evictions\n\n`go test -run '^$' -bench '^BenchmarkEvict$' ./tokencache`\n\n![time of an eviction](%s/evict.svg)\n", plots)
	p("## Memory\n\n`go -C internal/peers test -run '^$' -bench '^BenchmarkMemory$' -benchtime 1x -v .`\n")
	p("A million tokens, whose qualified names have 36 bytes, all in one account. The bare caches are keyed by the qualified name, and keep a")
	p("digest and a record; they know no accounts, and so can evict one only by looking at everything.\n")
	p("![memory for a token](%s/memory.svg)\n", plots)
	p("| cache | bytes a token |\n| --- | --- |")
	for _, f := range r.memory {
		p("| %s | %.0f |", f.Name, f.PerToken)
	}
	p("\n## Hit ratios\n\n`go -C internal/peers test -run '^TestHitRatio$' -v .`\n")
	p("%s\n", "The replacement is golang-lru's `simplelru`, whose recency is a mark that a hit leaves and that the policy looks at when it needs room.")
	p("![hit ratios](%s/hitratio.svg)\n", plots)
	p("| requests | capacity | svctoken | exact LRU | 2Q | otter |\n| --- | --- | --- | --- | --- | --- |")
	for _, h := range r.ratios {
		p("| %s | %.0f %% | %.3f | %.3f | %.3f | %.3f |", h.Trace, 100*h.Capacity, h.Svctoken, h.LRU, h.TwoQueue, h.Otter)
	}
	b.WriteString(onPaper)
	return b.String()
}

// onPaper is what this machine cannot measure.
const onPaper = `
## Many cores, on paper

A hit reads the group's list of caches, the table's bucket, the entry (two cache lines, its name and its account), and the noted time.
It writes one counter, on a line that other goroutines share only where their stacks' addresses collide in 64 stripes; and the entry's
recency mark, only where it is not set, so at most once between two passes of the replacement policy. A test counts the stores of a
program that hits, under valgrind (TestHitWritesOneLine in internal/peers). It takes no lock: another test hits while the one mutex of
the group is held (TestHitTakesNoLock). What it reads lies on other cache lines than what misses and
evictions write, but for the neighbours of an entry that comes or goes. Nothing that a hit does grows with the number of cores or
tokens, but for cache misses on the entries themselves.

At 64 cores, what gives first is the group's mutex, on misses: each takes it twice, for well under a microsecond, and waits for nothing
under it, so some hundreds of thousands of misses a second fit, which is far above what password hashing allows, but within the reach of a
source that needs none. A clearing of a whole cache holds it for as long as it takes to mark what is cached; misses wait meanwhile, hits
do not. At 10^8 tokens the memory is 26 GB, and Go's collector has as many pointers to follow: its cycles become long, though not its
pauses; a table that grows is copied under the mutex, for seconds at that size. Both ask for several groups, by account.
`

func sorted(rs results, prefix string) []string {
	var names []string
	for name := range rs {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return int(rs[a]["ns/op"] - rs[b]["ns/op"]) })
	return names
}

// cpuModel returns the processor's name, where the system tells.
func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
