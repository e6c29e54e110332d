package faults_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	update = flag.Bool("update", false, "write the table of docs/operations.md")
	only   = flag.String("only", "", "a regular expression of the faults to try (default: all)")
)

// A fault is something that happens to a host, and how it must be noticed.
type fault struct {
	name   string
	users  string // what they see
	metric string // an expression that the fault makes true
	log    string // a part of a line of the log; empty: there is none
	alerts []string
	begin  func(t *testing.T) (h *host, strike func())
}

// TestFaults: each fault sets off the alerts that it should, and no others, and shows in
// a metric and in the log.
func TestFaults(t *testing.T) {
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("faults such as a pipe in a file's place are those of Linux")
	}
	faults := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return !regexp.MustCompile(*only).MatchString(f.name) })
	hosts := make([]*host, len(faults))
	strikes := make([]func(), len(faults))
	for i, f := range faults {
		hosts[i], strikes[i] = f.begin(t)
		hosts[i].name = f.name
	}
	w := watch(t, hosts)
	for start := time.Now(); !w.scraped(t, len(hosts)); time.Sleep(100 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal("prometheus does not scrape all hosts")
		}
	}
	time.Sleep(3 * time.Second) // all is well
	for instance, alerts := range w.firing(t) {
		t.Errorf("%s: %v fires before anything has happened", instance, alerts)
	}
	for _, strike := range strikes {
		strike()
	}
	fired := make(map[string]map[string]bool)
	begin := time.Now()
	for time.Since(begin) < time.Minute || !allFired(faults, fired) && time.Since(begin) < 3*time.Minute {
		for instance, alerts := range w.firing(t) {
			for _, alert := range alerts {
				if fired[instance] == nil {
					fired[instance] = make(map[string]bool)
				}
				fired[instance][alert] = true
			}
		}
		time.Sleep(500 * time.Millisecond)
	}
	for i, f := range faults {
		for _, alert := range f.alerts {
			if !fired[f.name][alert] {
				t.Errorf("%s: %s does not fire", f.name, alert)
			}
		}
		for alert := range fired[f.name] {
			if !slices.Contains(f.alerts, alert) {
				t.Errorf("%s: %s fires", f.name, alert)
			}
		}
		if f.log != "" && !hosts[i].log.has(f.log) {
			t.Errorf("%s: no line of the log has %q", f.name, f.log)
		}
		if !w.shows(t, begin, fmt.Sprintf(`(%s) and on (instance) up{instance=%q}`, f.metric, f.name)) {
			t.Errorf("%s: %s is never true", f.name, f.metric)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", f.name, hosts[i].log.tail())
		}
	}
}

// allFired reports whether every alert that is to come has come.
func allFired(faults []fault, fired map[string]map[string]bool) bool {
	return !slices.ContainsFunc(faults, func(f fault) bool {
		return slices.ContainsFunc(f.alerts, func(alert string) bool { return !fired[f.name][alert] })
	})
}

// table returns the table of faults for docs/operations.md.
func table() string {
	var b strings.Builder
	b.WriteString("| what happens | what callers see | metric | line of the log | alerts |\n| --- | --- | --- | --- | --- |\n")
	for _, f := range faults {
		line := "none"
		if f.log != "" {
			line = "`" + f.log + "`"
		}
		var alerts []string
		for _, alert := range f.alerts {
			alerts = append(alerts, fmt.Sprintf("[%s](#%s)", strings.TrimPrefix(alert, "Svctoken"), strings.ToLower(alert)))
		}
		fmt.Fprintf(&b, "| %s | %s | `%s` | %s | %s |\n", f.name, f.users, strings.ReplaceAll(f.metric, "|", `\|`), line, cmp.Or(strings.Join(alerts, ", "), "none"))
	}
	return b.String()
}

// TestPage: docs/operations.md has the table, and a section for each rule.
func TestPage(t *testing.T) {
	const page, begin, end = "../../../docs/operations.md", "<!-- faults -->\n", "<!-- end -->\n"
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(content), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks %q and %q", page, begin, end)
	}
	if want := table(); old != want && *update {
		if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o666); err != nil {
			t.Fatal(err)
		}
	} else if old != want {
		t.Errorf("%s has another table: go test -C internal/harness ./faults -run TestPage -update", page)
	}
	rules, err := os.ReadFile("../../../adapters/tokenprom/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for line := range strings.Lines(string(rules)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "- alert: ")
		if !ok {
			continue
		}
		names++
		_, section, ok := strings.Cut(string(content), "\n### "+name+"\n")
		section, _, _ = strings.Cut(section, "\n#")
		for _, part := range []string{"**Means:**", "**Users see:**", "**Look at:**", "**Do:**"} {
			if !ok || !strings.Contains(section, part) {
				t.Errorf("%s: the section on %s lacks %s", page, name, part)
			}
		}
		if !strings.Contains(string(rules), "runbook: docs/operations.md#"+strings.ToLower(name)+"\n") {
			t.Errorf("%s does not lead to its section", name)
		}
	}
	if names < 10 {
		t.Errorf("got %d rules", names)
	}
}
