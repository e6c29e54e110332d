// Command report measures svctoken against its peers and writes docs/performance.md, with
// its plots. It writes only the parts between the page's markers.
//
//	go run -C internal/harness/peers ./report                  # all of it
//	go run -C internal/harness/peers ./report -print hits      # one section, to the terminal
//	go run -C internal/harness/peers ./report -against main    # hits, misses and evictions, against another commit
//
// With -against it builds the working tree and the commit, and lets the two binaries take
// turns: what counts is the median of the ratios. It takes the files that git knows.
//
// It takes about six minutes on an idle machine. On a busy one it takes longer, and most
// figures stay the same: see package turns.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	root  = "../../.."
	docs  = root + "/docs"
	plots = "performance" // below docs
)

// rounds is how many rounds of turns the cheap comparisons have.
const rounds = 101

// A section measures, and then writes its part of the page.
type section struct {
	name    string
	measure func(*report) error
	write   func(*report, *page)
}

var sections = []section{
	{"hits", (*report).measureHits, (*report).writeHits},
	{"instructions", (*report).measureInstructions, (*report).writeInstructions},
	{"options", (*report).measureOptions, (*report).writeOptions},
	{"many", (*report).measureMany, (*report).writeMany},
	{"cores", (*report).measureCores, (*report).writeCores},
	{"misses", (*report).measureMisses, (*report).writeMisses},
	{"evictions", (*report).measureEvictions, (*report).writeEvictions},
	{"memory", (*report).measureMemory, (*report).writeMemory},
	{"ratios", (*report).measureRatios, (*report).writeRatios},
	{"files", (*report).measureFiles, (*report).writeFiles},
	{"growth", (*report).measureGrowth, (*report).writeGrowth},
	{"servers", (*report).measureServers, (*report).writeServers},
}

func main() {
	log.SetFlags(0)
	only := flag.String("print", "", "measure this `section` alone, and print it: hits, instructions, options, many, cores, misses, evictions, memory, ratios, files, growth, servers")
	commit := flag.String("against", "", "compare hits, misses and evictions with those of this `commit`, and print that alone")
	turnRounds := flag.Int("rounds", 41, "how many rounds of turns -against has, at least 21")
	flag.Parse()
	var err error
	if *commit != "" {
		err = against(*commit, *turnRounds, os.Stdout)
	} else {
		err = run(*only)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(only string) error {
	r := new(report)
	var body page
	found := false
	for _, s := range sections {
		if only != "" && only != s.name {
			continue
		}
		found = true
		began := time.Now()
		if err := s.measure(r); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		s.write(r, &body)
		log.Printf("%s: %.0f s", s.name, time.Since(began).Seconds())
	}
	if !found {
		return fmt.Errorf("there is no section %q", only)
	}
	if only != "" {
		fmt.Println(body.String())
		return nil
	}
	if err := os.MkdirAll(filepath.Join(docs, plots), 0o777); err != nil {
		return err
	}
	if err := r.plot(); err != nil {
		return err
	}
	var head, figures page
	r.writeHead(&head)
	r.writeTargets(&figures)
	figures.WriteString(body.String() + onPaper)
	return r.updatePage(filepath.Join(docs, "performance.md"), head.String(), figures.String())
}

// updatePage writes the results into the page. People write the text outside the markers,
// and it stays.
func (r *report) updatePage(path, head, figures string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := replaceBlock(string(data), "head", head)
	if err != nil {
		return err
	}
	r.warn(text)
	if text, err = replaceBlock(text, "figures", figures); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o666)
}

// replaceBlock replaces the text between two markers.
func replaceBlock(text, name, block string) (string, error) {
	begin, end := "<!-- report: "+name+" -->\n", "<!-- report: end of "+name+" -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		return "", fmt.Errorf("docs/performance.md: no markers of %q", name)
	}
	return before + begin + fill(strings.Trim(block, "\n")) + "\n" + end + after, nil
}

// width is that of all pages.
const width = 140

// fill wraps the paragraphs of a text anew. Titles, tables, pictures and code stay.
func fill(text string) string {
	var lines []string
	var last *string // the paragraph's last line; nil: there is no paragraph
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || strings.ContainsAny(line[:1], "#|!`-<") {
			lines, last = append(lines, line), nil
			continue
		}
		for word := range strings.FieldsSeq(line) {
			if last != nil && utf8.RuneCountInString(*last+" "+word) <= width {
				*last += " " + word
				continue
			}
			lines = append(lines, word)
			last = &lines[len(lines)-1]
		}
	}
	return strings.Join(lines, "\n")
}

// A page is Markdown text under construction.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// table begins a table.
func (p *page) table(columns ...string) {
	p.line("\n| %s |\n|%s", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
}

func (r *report) writeHead(p *page) {
	p.line("Written by `go run -C internal/harness/peers ./report`, which measures everything on this page in one go, except for the section")
	p.line("Missed. Contestants take turns of two milliseconds, forwards and then backwards, on the processor's time of their own thread; garbage")
	p.line("is collected between the rounds. A ratio is that of the best rounds, and in brackets the median of the ratios round by round, with its")
	p.line("quartiles: what others on the machine add to it, by taking the processor's caches. Machines differ, so compare the figures of one run")
	p.line("with each other.\n")
	p.line("This run: %s, %s/%s, %d cores (%s).", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cpuModel())
}

// cpuModel returns the processor's name, if the system tells.
func cpuModel() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// onPaper has the figures that this machine cannot measure.
const onPaper = `
## Many cores, on paper

A hit takes no lock, and allocates nothing. It writes one counter, and the entry's mark of use, only if that is not set. A test
counts the stores of a program that hits, under valgrind (TestHitWritesOneLine in internal/harness/peers). Nothing that a hit does grows with
the number of cores or tokens, except for cache misses on the entries and on the table.

At 64 cores, what gives first is the group's mutex, on misses: a miss takes it for well under a microsecond at a time, and waits for
nothing under it, so some hundreds of thousands of misses a second fit. That is far above what password hashing allows, but within
reach of a source that needs none. Then several groups, by account, are the way out; they also shorten the collector's
cycles.
`
