package svctoken_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"iter"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/api.txt")

const module = "github.com/svctoken/svctoken/"

// rooms are the packages that users import, with how many top-level names each may
// export: what is exported is kept for years. The constants of an enumerated type
// count as one with it.
var rooms = map[string]int{
	"tokencache": 35, "filesource": 20, "indexsource": 16, "evict": 16, "tokencache/tokentest": 16,
	"fleet":                22,
	"fleet/fleetlog":       12,
	"tokencache/tokenhash": 6, "tokencache/tokenhttp": 6, "tokencache/tokenlog": 3,

	"tokencache/tokenhealth":  6,
	"tokencache/tokenmetrics": 10,
}

// imports are the packages of this module that each package may import.
var imports = map[string][]string{
	"tokencache":           {"internal/quote", "internal/suspend", "tokencache/internal/fair"},
	"filesource":           {"internal/passhash", "internal/quote", "tokencache"},
	"indexsource":          {"tokencache", "tokencache/tokenhash"},
	"evict":                {"internal/eswire", "internal/quote", "tokencache"},
	"fleet":                {"evict", "fleet/fleetlog", "indexsource", "internal/suspend", "tokencache", "tokencache/tokenhash"},
	"fleet/fleetlog":       nil,
	"fleet/fleettest":      {"fleet", "fleet/fleetlog", "tokencache"},
	"tokencache/tokenhash": {"internal/passhash", "tokencache"},
	"tokencache/tokenhttp": {"tokencache"},
	"tokencache/tokenlog":  {"evict", "fleet", "tokencache"},
	"tokencache/tokentest": {"evict", "indexsource", "tokencache"},
	"internal/eswire":      {"tokencache"},
	"internal/passhash":    nil,
	"internal/quote":       nil,
	"internal/suspend":     nil,

	"tokencache/internal/fair": nil,

	"tokencache/tokenhealth":  {"fleet", "tokencache"},
	"tokencache/tokenmetrics": {"filesource", "fleet", "indexsource", "tokencache"},
}

// TestAPI compares what all public packages export with testdata/api.txt, each line of which
// is a promise. After a change that is meant: go test . -run TestAPI -update
func TestAPI(t *testing.T) {
	const golden = "testdata/api.txt"
	var lines []string
	for room, pkg := range packages(t) {
		api, names := exported(pkg)
		lines = append(lines, api...)
		if names > rooms[room] {
			t.Errorf("%s exports %d names, and may export %d", room, names, rooms[room])
		}
	}
	lines = append(lines, otherAPI(t)...)
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("exported API (-%s +now):\n%s", golden, diff)
	}
}

// imported are the rooms' packages, by room.
var imported = sync.OnceValues(func() (map[string]*types.Package, error) {
	from := importer.ForCompiler(token.NewFileSet(), "source", nil)
	all := make(map[string]*types.Package)
	for room := range rooms {
		pkg, err := from.Import(module + room)
		if err != nil {
			return nil, err
		}
		all[room] = pkg
	}
	return all, nil
})

// packages returns the rooms and their packages, in the order of the rooms' names.
func packages(t *testing.T) iter.Seq2[string, *types.Package] {
	t.Helper()
	all, err := imported()
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(string, *types.Package) bool) {
		for _, room := range slices.Sorted(maps.Keys(all)) {
			if !yield(room, all[room]) {
				return
			}
		}
	}
}

// exported lists a package's API: one line for each object, exported field and
// exported method.
func exported(pkg *types.Package) (lines []string, names int) {
	short := func(p *types.Package) string { return p.Name() }
	add := func(format string, args ...any) {
		lines = append(lines, pkg.Name()+": "+fmt.Sprintf(format, args...))
	}
	for _, name := range pkg.Scope().Names() {
		obj := pkg.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		if _, enumerated := obj.(*types.Const); !enumerated {
			names++
		}
		typeName, ok := obj.(*types.TypeName)
		if !ok {
			add("%s", types.ObjectString(obj, short))
			continue
		}
		named := typeName.Type().(*types.Named)
		switch u := named.Underlying().(type) {
		case *types.Struct:
			add("type %s struct", types.TypeString(named, short))
			for f := range u.Fields() {
				if f.Exported() {
					add("type %s, field %s %s", name, f.Name(), types.TypeString(f.Type(), short))
				}
			}
		case *types.Interface:
			add("type %s interface", types.TypeString(named, short))
			for m := range u.Methods() {
				add("type %s, method %s%s", name, m.Name(), strings.TrimPrefix(types.TypeString(m.Type(), short), "func"))
			}
		default:
			add("type %s %s", types.TypeString(named, short), u)
		}
		set := types.NewMethodSet(types.NewPointer(named))
		for method := range set.Methods() {
			if m := method.Obj(); m.Exported() && !types.IsInterface(named) {
				add("type %s, method %s%s", name, m.Name(), strings.TrimPrefix(types.TypeString(m.Type(), short), "func"))
			}
		}
	}
	return lines, names
}

// TestImports checks who imports whom: sources and evict import tokencache, and no
// room imports its neighbour.
func TestImports(t *testing.T) {
	for dir, allowed := range imports {
		for path := range importsOf(t, dir) {
			if rest, ok := strings.CutPrefix(path, module); ok && !slices.Contains(allowed, rest) {
				t.Errorf("%s imports %s", dir, rest)
			}
		}
	}
}

func importsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	paths := make(map[string]bool)
	for _, file := range parseDir(t, dir) {
		for _, spec := range file.Imports {
			paths[strings.Trim(spec.Path.Value, `"`)] = true
		}
	}
	return paths
}

// parseDir parses the files of a package, without its tests.
func parseDir(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]*ast.File)
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), dir+"/"+name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
	}
	return files
}

// TestDependencies: a program that imports svctoken gets four dependencies. Whatever
// needs more is a module of its own.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"github.com/google/go-cmp", "github.com/hashicorp/golang-lru/v2", "golang.org/x/crypto", "golang.org/x/sync"}
	if diff := cmp.Diff(want, strings.Fields(string(out))); diff != "" {
		t.Errorf("direct dependencies (-want +got):\n%s", diff)
	}
}
