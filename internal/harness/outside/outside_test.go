package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func paths(m released) (all []string) {
	for _, f := range m.files {
		all = append(all, f.path)
	}
	return all
}

// TestModules: a file belongs to the innermost module, each module gets the licence, and
// users import neither internal packages nor examples.
func TestModules(t *testing.T) {
	modules, err := modulesOf(map[string][]byte{
		"LICENSE": []byte("licence"), "go.mod": []byte("module example.org/m\n"),
		"a/a.go": nil, "a/a_test.go": nil, "a/b/only_test.go": nil, "internal/x/x.go": nil, "examples/e/main.go": nil,
		"n/go.mod": []byte("module example.org/m/n\n\nrequire github.com/svctoken/svctoken v1.2.3\n"), "n/n.go": nil, "n/internal/y/y.go": nil,
		"examples/f/go.mod": []byte("module example.org/m/examples/f\n"), "examples/f/f.go": nil,
		"internal/h/go.mod": []byte("module example.org/m/internal/h\n"), "internal/h/h.go": nil,
	})
	if err != nil || len(modules) != 2 {
		t.Fatalf("got %d modules, %v", len(modules), err)
	}
	for i, want := range []struct{ files, packages []string }{
		{[]string{"LICENSE", "a/a.go", "a/a_test.go", "a/b/only_test.go", "examples/e/main.go", "go.mod", "internal/x/x.go"}, []string{"example.org/m/a"}},
		{[]string{"LICENSE", "go.mod", "internal/y/y.go", "n.go"}, []string{"example.org/m/n"}},
	} {
		if diff := cmp.Diff(want.files, paths(modules[i])); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", modules[i].path, diff)
		}
		if diff := cmp.Diff(want.packages, modules[i].packages); diff != "" {
			t.Errorf("%s: packages (-want +got):\n%s", modules[i].path, diff)
		}
	}
	if now, later, err := versions(modules); now != "v1.2.3" || later != "v1.3.0" || err != nil {
		t.Errorf("got versions %s and %s, %v", now, later, err)
	}
}

func TestRenameInternal(t *testing.T) {
	got := renameInternal([]file{
		{"a/a.go", []byte(`import "github.com/svctoken/svctoken/internal/x"`)}, {"internal/x/x.go", []byte("package x")}, {"README.md", []byte("internal/x")},
	})
	want := []file{
		{"a/a.go", []byte(`import "github.com/svctoken/svctoken/internal/renamedx"`)}, {"internal/renamedx/x.go", []byte("package x")}, {"README.md", []byte("internal/x")},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(file{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFirstProgram(t *testing.T) {
	source, output, err := firstProgram("# Page\n```\ngo get\n```\n```go\npackage main\n\nfunc main() {}\n```\nIt prints\n```\nhello\n```\n")
	if source != "package main\n\nfunc main() {}\n" || output != "hello\n" || err != nil {
		t.Errorf("got %q, %q, %v", source, output, err)
	}
	if _, _, err := firstProgram("```go\nfile.Open()\n```\n```\nhello\n```\n"); err == nil {
		t.Error("a fragment is taken for a program")
	}
}

// TestWeights: a written table passes the check, even with a size that differs by less
// than a tenth, but not with another count.
func TestWeights(t *testing.T) {
	page := filepath.Join(t.TempDir(), "weight.md")
	if err := os.WriteFile(page, []byte("# Weight\n\n"+tableHead+"| old | 1 | 1 | 1 | 1.0 |\n\nText.\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	measured := []weight{{rootPath, 13, 9, 10, 5.4e6}, {rootPath + "/fleet/fleetsql", 1, 6, 7, 2.4e6}}
	if checkWeights(page, measured) == nil {
		t.Error("an old table passes")
	}
	if err := writeWeights(page, measured); err != nil {
		t.Fatal(err)
	}
	const want = "# Weight\n\n" + tableHead + "| the root | 13 | 9 | 10 | 5.4 |\n| fleet/fleetsql | 1 | 6 | 7 | 2.4 |\n\nText.\n"
	if got, err := os.ReadFile(page); string(got) != want || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	measured[0].bytes += 4e5
	if err := checkWeights(page, measured); err != nil {
		t.Error(err)
	}
	measured[0].bytes += 4e5
	if checkWeights(page, measured) == nil {
		t.Error("a program that is a seventh larger passes")
	}
	measured[0].bytes = 5.4e6
	measured[1].modules++
	if checkWeights(page, measured) == nil {
		t.Error("one more module passes")
	}
}
