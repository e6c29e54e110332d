package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// find returns the changes of a function's body, as texts of that body.
func find(t *testing.T, body string) map[string][]string {
	t.Helper()
	const head, tail = "package p\n\nfunc f() {\n", "\n}\n"
	p := &pkg{name: "p", fset: token.NewFileSet()}
	src := []byte(head + body + tail)
	tree, err := parser.ParseFile(p.fset, "p.go", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	f := &finder{pkg: p, random: rand.New(rand.NewPCG(1, 1)), file: &file{name: "p.go", src: src, ast: tree}}
	ast.Inspect(tree, f.visit)
	texts := make(map[string][]string)
	for _, c := range f.found {
		text := string(c.apply())
		if got, want := strings.Count(text, "\n"), strings.Count(string(src), "\n"); got != want {
			t.Errorf("%s at %s: the file has %d lines, and had %d", c.what, c.place, got, want)
		}
		if _, err := parser.ParseFile(token.NewFileSet(), "", text, 0); err != nil {
			t.Errorf("%s at %s: %v\n%s", c.what, c.place, err, text)
		}
		text = strings.TrimSuffix(strings.TrimPrefix(text, head), tail)
		texts[c.what] = append(texts[c.what], text)
	}
	return texts
}

func TestChanges(t *testing.T) {
	for _, test := range []struct {
		name, body, what string
		want             []string
	}{
		{"deleted", "a()\nb()", "statement deleted", []string{"\nb()", "a()\n"}},
		{"deleted, of three lines", "if x {\na()\n}\nb()", "statement deleted", []string{"\n\n\nb()", "if x {\na()\n}\n", "if x {\n\n}\nb()"}},
		{"swapped", "a()\nb() // c", "statements swapped", []string{"b()\na() // c"}},
		{"operand", "x = a && b", "operand left out", []string{"x = a", "x = b"}},
		{"operand, over two lines", "return a +\nb", "operand left out", []string{"return (\na)", "return (\nb)"}},
		{"negated", "if x := y; x {\n}", "condition negated", []string{"if x := y; !(x) {\n}"}},
		{"for without condition", "for {\n}", "condition negated", nil},
		{"once", "for range x {\na() // why\n}", "loop runs once", []string{"for range x {\na() // why\n; break; }"}},
		{"element", "x = []int{a, b}", "element left out", []string{"x = []int{ b}", "x = []int{a}"}},
		{"element, over lines", "x = y{\nA: a,\nB: b,\n}", "element left out", []string{"x = y{\n\nB: b,\n}", "x = y{\nA: a,\n\n}"}},
		{"argument", "a(b, c)", "argument left out", []string{"a( c)", "a(b)"}},
		{"case", "switch {\ncase a:\nb()\ndefault:\n}", "case left out", []string{"switch {\n\n\ndefault:\n}", "switch {\ncase a:\nb()\n\n}"}},
		{"statements of a case", "switch {\ncase a:\nb()\n}", "statement deleted", []string{"\n\n\n", "switch {\ncase a:\n\n}"}},
		{"case of a select", "select {\ncase <-a:\n}", "case left out", []string{"select {\n\n}"}},
		{"case value", "switch x {\ncase a, b:\n}", "case value left out", []string{"switch x {\ncase  b:\n}", "switch x {\ncase a:\n}"}},
		{"integer", "x = 7", "constant changed", []string{"x = 8"}},
		{"hexadecimal", "x = 0xff", "constant changed", []string{"x = 256"}},
		{"character", "x = ':'", "constant changed", []string{"x = ';'"}},
		{"float", "x = 1.5", "constant changed", []string{"x = 0"}},
		{"empty string", `x = ""`, "constant changed", []string{`x = "x"`}},
		{"boolean", "x = true", "constant changed", []string{"x = false"}},
		{"tag", "type x struct{ a int `tag` }", "constant changed", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := find(t, test.body)[test.what]; !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestLocks checks which swaps are known to be no change.
func TestLocks(t *testing.T) {
	for _, test := range []struct {
		text string
		want bool
	}{
		{"mu.Lock()\n\tdefer mu.Unlock()", true},
		{"s.group.mu.RLock()\n\tdefer s.group.mu.RUnlock()", true},
		{"mu.Lock()\n\tdefer other.Unlock()", false},
		{"mu.Lock()\n\tdefer mu.RUnlock()", false},
		{"mu.RLock()\n\tdefer mu.Unlock()", false},
		{"mu.Lock()\n\tmu.Unlock()", false},
		{"mu().Lock()\n\tdefer mu().Unlock()", false},
		{"mus[i].Lock()\n\tdefer mus[i].Unlock()", false},
		{"x.Lock()\n\tdefer x.Unlock()\n\ty()", false},
		{"defer mu.Unlock()\n\tmu.Lock()", false},
		{"a()\n\tdefer b()", false},
	} {
		if got := isLock(test.text); got != test.want {
			t.Errorf("%q: got %v, want %v", test.text, got, test.want)
		}
	}
}

// TestStringsChange checks that a string is emptied or gets a prefix.
func TestStringsChange(t *testing.T) {
	var empty, prefixed int
	for _, text := range find(t, strings.Repeat("x = `a`\n", 40))["constant changed"] {
		empty += strings.Count(text, `x = ""`)
		prefixed += strings.Count(text, `x = "xa"`)
	}
	if empty == 0 || prefixed == 0 || empty+prefixed != 40 {
		t.Errorf("%d were emptied, %d got a prefix", empty, prefixed)
	}
}

// sample writes a module with one package, whose tests know what f returns for 1
// and 2, and nothing of g.
func sample(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module sample\n\ngo 1.26.0\n",
		"p/p.go": `package p

import "errors"
import "sync"
var unused = errors.New("nobody asks")

func f(n int) int {
	sum := 0
	for i := range n {
		sum += i
		sum++
	}
	return sum
}

func g() int {
	x := 1
	x = 2
	return x
}

func untested() int { return 5 }

func wait(n int) int {
	for n < 10 {
		n++
	}
	return n
}

func locked() {
	mu.Lock()
	defer mu.Unlock()
}

var mu sync.Mutex

func order() (s string) {
	s += "a"
	s += "b"
	return s
}
`,
		"p/p_test.go": `package p

import (
	"os"
	"testing"
)

func TestF(t *testing.T) {
	if _, err := os.Stat("p_test.go"); err != nil {
		t.Fatal(err) // the tests run in the package's directory
	}
	if f(1) != 1 || f(2) != 3 {
		t.Fatal("wrong")
	}
	locked()
	locked()
	if g() != 2 || order() != "ab" || wait(3) != 10 {
		t.Fatal("wrong")
	}
}
`,
	} {
		write(t, root, name, text)
	}
	return root
}

// TestOtherModule: the tests of a package without any may live in another module.
func TestOtherModule(t *testing.T) {
	root := sample(t)
	for name, text := range map[string]string{
		"bare/bare.go": "package bare\n\nfunc Double(n int) int { return 2 * n }\n\nfunc Untested() int { return 5 }\n",
		"other/go.mod": "module other\n\ngo 1.26.0\n\nrequire sample v0.0.0\n\nreplace sample => ..\n",
		"other/t/t_test.go": `package t

import (
	"testing"

	"sample/bare"
)

func TestDouble(t *testing.T) {
	if bare.Double(3) != 6 {
		t.Fatal("wrong")
	}
}
`,
		"other/none/none.go":       "package none\n",
		"other/away/away_test.go":  "package away\n\nimport \"testing\"\n\nfunc Test(*testing.T) {}\n",
		"other/fails/fail_test.go": "package fails\n\nimport (\n\t\"testing\"\n\n\t_ \"sample/bare\"\n)\n\nfunc Test(t *testing.T) { t.Fatal() }\n",
	} {
		write(t, root, name, text)
	}
	var out strings.Builder
	ok, err := run(t.Context(), options{root: root, n: 100, verbose: true, tests: "./other/t"}, []string{"./bare"}, &out)
	if err != nil || !ok {
		t.Fatalf("got %v, %v", ok, err)
	}
	for _, want := range []string{"bare/bare.go:3: constant changed: killed", "bare/bare.go:5: constant changed: SURVIVED"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
	for tests, want := range map[string]string{
		"":             "has no tests: name",
		"./other/none": "has no tests",
		"./other/away": "do not use sample/bare",
		"./other/gone": "-tests ./other/gone",
		"other/fails":  "the tests of the unchanged code",
	} {
		if _, err := run(t.Context(), options{root: root, n: 1, tests: tests}, []string{"./bare"}, &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("tests %q: got %v, want %q", tests, err, want)
		}
	}
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestSample(t *testing.T) {
	root := sample(t)
	for _, test := range []struct {
		name string
		options
		ok   bool
		want []string // all that the report must have
		not  string   // what it must not have
	}{
		{"killed and survived", options{n: 100, parallel: 2, at: "p.go:(5|9|10|11)$"}, false, []string{
			"p/p.go:5: constant changed: SURVIVED",
			"-var unused = errors.New(\"nobody asks\")\n",
			"p/p.go:9: statement deleted: killed",
			"p/p.go:9: loop runs once: killed",
			" for i := range n {\n-\t}\n+\t; break; }\n",
			"p/p.go:11: statement deleted: killed",
			"p: killed 3/4 (75 %), 0 of them by the time limit; 1 more did not count\n", // in which order it adds
		}, ""},
		{"swaps", options{n: 100, at: "p.go:39$"}, true, []string{"p/p.go:39: statements swapped: killed", "p/p.go:39: statement deleted: killed"}, ""},
		{"without swaps", options{n: 100, noSwaps: true, at: "p.go:39$"}, true, []string{"p/p.go:39: statement deleted: killed"}, "swapped"},
		{"what is equivalent does not count", options{n: 100, at: "p.go:1[6-9]$"}, true, []string{"p/p.go:18: constant changed: killed"}, "p.go:17"},
		{"what no test calls counts", options{n: 100, at: "p.go:22$"}, false, []string{"p/p.go:22: constant changed: SURVIVED"}, ""},
		{"what hangs is killed", options{n: 100, timeout: time.Second, at: "p.go:26$"}, true, []string{"p/p.go:26: statement deleted: killed by the time limit"}, ""},
		{"a lock and its defer do not count", options{n: 100, at: "p.go:3[23]$"}, true, []string{"p/p.go:32: statement deleted: killed", "p.go:33: statement deleted: killed"}, "swapped"},
		{"a limited number", options{n: 1, at: "p.go:(9|11)$"}, true, []string{"p: killed 1/1 (100 %)"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			test.root, test.verbose, test.least = root, true, 90
			ok, err := run(t.Context(), test.options, []string{"./p"}, &out)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(out.String())
			if ok != test.ok {
				t.Errorf("got %v, want %v", ok, test.ok)
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the report lacks %q", want)
				}
			}
			if test.not != "" && strings.Contains(out.String(), test.not) {
				t.Errorf("the report has %q", test.not)
			}
		})
	}
}
