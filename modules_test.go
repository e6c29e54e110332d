package svctoken_test

import (
	"go/parser"
	"go/token"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A goModule is one module of this repository.
type goModule struct {
	dir, path string
	requires  map[string]string // the versions of this repository's modules that it requires
	replaces  map[string]string // the folders that it takes them from, seen from the root
}

// released reports whether the module is tagged, for others to require. Examples and
// what is internal are not.
func (m goModule) released() bool {
	return !slices.Contains(strings.Split(m.dir, "/"), "internal") && !strings.HasPrefix(m.dir, "examples/")
}

var modLine = regexp.MustCompile(`^(?:module |require |replace )?\s*(github\.com/svctoken/svctoken\S*)(?: (v\S+))?(?: => (\S+))?(?: // indirect)?$`)

// goModules returns the modules, by path.
func goModules(t *testing.T) map[string]goModule {
	t.Helper()
	all := make(map[string]goModule)
	for _, file := range gitFiles(t, "go.mod", "*/go.mod") {
		m := goModule{dir: path.Dir(file), requires: make(map[string]string), replaces: make(map[string]string)}
		for line := range strings.Lines(read(t, file)) {
			found := modLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
			switch {
			case found == nil:
			case found[3] != "":
				m.replaces[found[1]] = path.Join(m.dir, found[3])
			case found[2] != "":
				m.requires[found[1]] = found[2]
			default:
				m.path = found[1]
			}
		}
		all[m.path] = m
	}
	if len(all) < 10 {
		t.Fatalf("found %d modules", len(all))
	}
	return all
}

func gitFiles(t *testing.T, patterns ...string) []string {
	t.Helper()
	out, err := exec.Command("git", append([]string{"ls-files", "--"}, patterns...)...).Output()
	if err != nil {
		t.Skipf("not a checkout: %v", err) // as in the module cache of a user who tests a release
	}
	return strings.Fields(string(out))
}

// owner returns the module of a file or a package, by its path from the root.
func owner(all map[string]goModule, name string) goModule {
	for name = path.Join(module, name); ; name = path.Dir(name) {
		if m, ok := all[name]; ok {
			return m
		}
	}
}

// TestModules: all modules are released in step, so each requires the others at one
// version, which a replacement takes from this checkout; and what is released requires
// nothing that is not.
func TestModules(t *testing.T) {
	all := goModules(t)
	version := all["github.com/svctoken/svctoken/fleet/fleetsql"].requires["github.com/svctoken/svctoken"]
	if version == "" {
		t.Error("fleet/fleetsql does not require the root")
	}
	for _, m := range all {
		// The older of the two releases of Go that are supported: see CONTRIBUTING.md.
		if m.released() && !strings.Contains(read(t, path.Join(m.dir, "go.mod")), "\ngo 1.26.0\n") {
			t.Errorf("%s/go.mod does not say go 1.26.0", m.dir)
		}
		if want := path.Join("github.com/svctoken/svctoken", m.dir); m.path != want {
			t.Errorf("%s/go.mod is called %s, want %s", m.dir, m.path, want)
		}
		for required, at := range m.requires {
			other := all[required]
			if at != version || m.replaces[required] != other.dir {
				t.Errorf("%s requires %s at %s, from %q; want %s, from %q", m.dir, required, at, m.replaces[required], version, other.dir)
			}
			if m.released() && !other.released() {
				t.Errorf("%s is released and requires %s, which is not", m.dir, required)
			}
		}
	}
}

// TestInternalStaysInside: no module imports what is internal to another one. A later
// version of that one, without it, would break the build of this one, and no check of
// the API could see it. The harness, which is never released, may.
func TestInternalStaysInside(t *testing.T) {
	all := goModules(t)
	for _, file := range gitFiles(t, "*.go") {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		own := owner(all, file)
		for _, spec := range parsed.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if !strings.HasPrefix(imported, module) || !slices.Contains(strings.Split(imported, "/"), "internal") {
				continue
			}
			if from := owner(all, strings.TrimPrefix(imported, module)); from.path != own.path && !strings.HasPrefix(own.dir, "internal/") {
				t.Errorf("%s imports %s, which is internal to the module in %s", file, imported, from.dir)
			}
		}
	}
}
