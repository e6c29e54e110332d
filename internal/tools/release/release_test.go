package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// checkout makes a repository with a root, a module beneath it and an example. It uses
// the tools of the repository that runs the test.
func checkout(t *testing.T) repo {
	t.Helper()
	r := repo{t.TempDir()}
	tools, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":             "module example.org/m\n\ngo 1.25.0\n",
		"m.go":               "package m\n\nfunc F() {}\n",
		"n/go.mod":           "module example.org/m/n\n\ngo 1.25.0\n\nrequire example.org/m v0.1.0\n\nreplace example.org/m => ..\n",
		"n/n.go":             "package n\n\nimport \"example.org/m\"\n\nfunc G() { m.F() }\n",
		"examples/e/go.mod":  "module example.org/m/examples/e\n\ngo 1.25.0\n",
		"examples/e/main.go": "package main\n\nfunc main() {}\n",
		"CHANGELOG.md":       "# Changelog\n\n## 0.1.0, unreleased\n\n- All.\n",
	} {
		write(t, r, name, text)
	}
	if err := os.MkdirAll(filepath.Join(r.root, "internal"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(tools, filepath.Join(r.root, "internal/tools")); err != nil {
		t.Fatal(err)
	}
	git(t, r, "init", "-q")
	git(t, r, "add", "go.mod", "m.go", "n", "examples", "CHANGELOG.md")
	git(t, r, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "m: all")
	return r
}

func git(t *testing.T, r repo, args ...string) {
	t.Helper()
	if _, err := r.run(".", append([]string{"git"}, args...)...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, r repo, name, text string) {
	t.Helper()
	name = filepath.Join(r.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, r repo, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var day = time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)

// TestFirstRelease: without an earlier release there is nothing to compare with.
func TestFirstRelease(t *testing.T) {
	r := checkout(t)
	if err := release(r, "v0.1.0", day); err != nil {
		t.Fatal(err)
	}
	git(t, r, "add", "CHANGELOG.md")
	if err := release(r, "v0.1.0", day.AddDate(0, 0, 1)); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if got := read(t, r, "CHANGELOG.md"); got != "# Changelog\n\n## 0.1.0, 2026-11-28\n\n- All.\n" {
		t.Errorf("CHANGELOG.md: %s", got)
	}
}

// TestRelease: every module requires the others at the new version, and a change that
// breaks users needs a version that allows it.
func TestRelease(t *testing.T) {
	r := checkout(t)
	git(t, r, "tag", "v0.1.0")
	write(t, r, "m.go", "package m\n\nfunc F() {}\n\nfunc More() {}\n")
	if err := release(r, "v0.1.1", day); err != nil {
		t.Fatal(err)
	}
	if got := read(t, r, "n/go.mod"); !strings.Contains(got, "require example.org/m v0.1.1\n") || !strings.Contains(got, "replace example.org/m => ..") {
		t.Errorf("n/go.mod: %s", got)
	}
	write(t, r, "m.go", "package m\n\nfunc F() {}\n")
	write(t, r, "n/n.go", "package n\n\nimport \"example.org/m\"\n\nfunc H() { m.F() }\n")
	if err := release(r, "v0.1.1", day); err == nil || !strings.Contains(err.Error(), "v0.1.1 may not break what v0.1.0 promised") {
		t.Errorf("a function that has gone from a nested module: got %v", err)
	}
	git(t, r, "checkout", "-q", "CHANGELOG.md")
	if err := release(r, "v0.2.0", day); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	r := checkout(t)
	git(t, r, "tag", "v0.3.0")
	for _, version := range []string{"", "0.4.0", "v0.4", "v0.4.0-rc.1", "v2.0.0", "v0.3.0", "v0.2.9"} {
		if err := release(r, version, day); err == nil {
			t.Errorf("%q is taken after v0.3.0", version)
		}
	}
	write(t, r, "n/go.mod", read(t, r, "n/go.mod")+"\nrequire example.org/unused v1.0.0\n")
	if err := release(r, "v0.4.0", day); err == nil || !strings.Contains(err.Error(), "example.org/m/n is not tidy") {
		t.Errorf("a module that is not tidy: got %v", err)
	}
}

func TestMayBreak(t *testing.T) {
	for _, test := range []struct {
		last, version string
		want          bool
	}{
		{"v0.1.0", "v0.2.0", true}, {"v0.1.0", "v0.1.1", false}, {"v0.9.0", "v1.0.0", true}, {"v1.0.0", "v1.1.0", false},
	} {
		if got := mayBreak(test.last, test.version); got != test.want {
			t.Errorf("from %s to %s: got %t", test.last, test.version, got)
		}
	}
}

func TestTags(t *testing.T) {
	modules, err := checkout(t).modules()
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, m := range modules {
		if m.released() {
			tags = append(tags, m.tag("v0.1.0"))
		}
	}
	if got := strings.Join(tags, " "); got != "v0.1.0 n/v0.1.0" {
		t.Errorf("got %s", got)
	}
}
