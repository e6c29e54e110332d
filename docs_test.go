package svctoken_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPackageDocs: each package has one package comment, in doc.go, and each room
// an Example.
func TestPackageDocs(t *testing.T) {
	for dir := range imports {
		documented := 0
		for name, file := range parseDir(t, dir) {
			if file.Doc == nil {
				continue
			}
			documented++
			if _, room := rooms[dir]; room && name != "doc.go" {
				t.Errorf("%s/%s has a package comment, which belongs in doc.go", dir, name)
			}
		}
		if documented != 1 {
			t.Errorf("%s has %d package comments, want 1", dir, documented)
		}
	}
	for room := range rooms {
		if src := read(t, room+"/example_test.go"); !strings.Contains(src, "func Example() {") || !strings.Contains(src, "// Output:") {
			t.Errorf("%s has no Example that runs", room)
		}
	}
}

// TestOneProgram: the program in the README, the one in doc.go and the Example
// that runs are the same.
func TestOneProgram(t *testing.T) {
	src := read(t, "example_test.go")
	_, program, _ := strings.Cut(src, "package svctoken_test\n")
	_, body, _ := strings.Cut(src, "func Example() {\n")
	body, _, ok := strings.Cut(body, "\t// Output:")
	if !ok {
		t.Fatal("the Example has no output")
	}
	program, output, _ := strings.Cut(program, "\t// Output:\n")
	program = "package main\n" + strings.Replace(program, "func Example()", "func main()", 1) + "}\n"
	output = strings.ReplaceAll(strings.TrimSuffix(output, "}\n"), "\t// ", "")
	if block := "```go\n" + program + "```\n\nThen `go mod tidy && go run .` prints\n\n```\n" + output + "```\n"; !strings.Contains(read(t, "README.md"), block) {
		t.Errorf("README.md does not have the Example's program, and what it prints:\n%s", block)
	}
	var doc strings.Builder
	for line := range strings.Lines(body) {
		doc.WriteString("//" + line)
	}
	if !strings.Contains(read(t, "doc.go"), doc.String()) {
		t.Errorf("doc.go does not have the Example's program:\n%s", &doc)
	}
}

// TestReadmeCommands: the README leads with the two commands, and .ci/run uses the
// one for the tests.
func TestReadmeCommands(t *testing.T) {
	const serve, test = "go run ./examples/authserver", "go test ./..."
	readme := read(t, "README.md")
	i, j := strings.Index(readme, "\n"+serve+"\n"), strings.Index(readme, "\n"+test+"\n")
	if i < 0 || j < i || strings.Count(readme[:j], "```") != 1 {
		t.Errorf("README.md does not lead with %q and %q", serve, test)
	}
	if !strings.Contains(read(t, ".ci/run"), test) {
		t.Errorf(".ci/run does not run %q", test)
	}
}

// TestReadmeRooms: the README leads to each room, each adapter's folder and each
// program.
func TestReadmeRooms(t *testing.T) {
	readme := read(t, "README.md")
	examples, err := filepath.Glob("examples/*")
	if err != nil || len(examples) < 5 {
		t.Fatalf("got examples %v, %v", examples, err)
	}
	for _, dir := range slices.Concat(examples, slices.Sorted(maps.Keys(rooms)), []string{"adapters", "fleet/fleetnats", "fleet/fleetsql", "indexsource/sqlindex"}) {
		if !strings.Contains(readme, "]("+filepath.ToSlash(dir)+")") {
			t.Errorf("README.md does not link to %s", dir)
		}
	}
}

var (
	link    = regexp.MustCompile(`(!?)\[[^]]*\]\(([^)#]*)(?:#([^)]*))?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestLinks: each file and each heading that a page links to within the repository exists,
// and a picture is small.
func TestLinks(t *testing.T) {
	const most = 200_000 // bytes
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("got pages %v, %v", pages, err)
	}
	links, pictures := 0, 0
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "SECURITY.md") {
		for _, found := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(found[2], "://") {
				continue
			}
			links++
			target := page
			if found[2] != "" {
				target = filepath.Join(filepath.Dir(page), found[2])
			}
			info, err := os.Stat(target)
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if found[1] == "!" {
				if pictures++; info.Size() > most {
					t.Errorf("%s: %s has %d bytes, want %d at most", page, found[2], info.Size(), most)
				}
			}
			if found[3] != "" && !slices.Contains(anchors(read(t, target)), found[3]) {
				t.Errorf("%s links to %s#%s, and there is no such heading", page, target, found[3])
			}
		}
	}
	if links < 30 || pictures < 2 {
		t.Errorf("got %d links and %d pictures", links, pictures)
	}
}

// anchors returns the names under which GitHub finds the headings of a page.
func anchors(text string) []string {
	var names []string
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		names = append(names, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
