package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// A repo is a checkout.
type repo struct{ root string }

// A module is a module of the checkout.
type module struct {
	dir, path string
	file      string // its go.mod
	mod       *modfile.File
}

// run runs a command in a folder of the checkout, and returns its output.
func (r repo) run(dir string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = filepath.Join(r.root, dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return string(out), nil
}

// modules returns the checkout's modules, the root first.
func (r repo) modules() (all []module, err error) {
	out, err := r.run(".", "git", "ls-files", "go.mod", "*/go.mod")
	if err != nil {
		return nil, err
	}
	for name := range strings.FieldsSeq(out) {
		m := module{dir: path.Dir(name), file: filepath.Join(r.root, name)}
		data, err := os.ReadFile(m.file)
		if err != nil {
			return nil, err
		}
		if m.mod, err = modfile.Parse(name, data, nil); err != nil {
			return nil, err
		}
		m.path = m.mod.Module.Mod.Path
		if m.dir == "." {
			all = append([]module{m}, all...)
		} else {
			all = append(all, m)
		}
	}
	if len(all) == 0 || all[0].dir != "." {
		return nil, fmt.Errorf("%s has no go.mod", r.root)
	}
	return all, nil
}

// released reports whether others may require the module: examples and internal modules
// have no tags.
func (m module) released() bool {
	return !strings.HasPrefix(m.dir, "internal/") && !strings.HasPrefix(m.dir, "examples/")
}

// tag returns the tag of a version of the module, as the go command looks for it.
func (m module) tag(version string) string { return path.Join(m.dir, version) }

// lastRelease returns the highest version that is tagged, or "".
func (r repo) lastRelease() (last string, err error) {
	out, err := r.run(".", "git", "tag", "--list", "v*")
	if err != nil {
		return "", err
	}
	for tag := range strings.FieldsSeq(out) {
		if semver.IsValid(tag) && semver.Prerelease(tag) == "" && semver.Compare(tag, last) > 0 {
			last = tag
		}
	}
	return last, nil
}

// follows checks that a version may come after the last one.
func follows(last, version string) error {
	switch {
	case semver.Canonical(version) != version || semver.Prerelease(version) != "":
		return fmt.Errorf("%q is not a version such as v0.2.0", version)
	case semver.Major(version) > "v1":
		return fmt.Errorf("%s: a major version after v1 takes other import paths", version)
	case last != "" && semver.Compare(version, last) <= 0:
		return fmt.Errorf("%s does not come after %s", version, last)
	}
	return nil
}

// setVersions makes each module require the others at the version.
func setVersions(modules []module, version string) error {
	own := make(map[string]bool)
	for _, m := range modules {
		own[m.path] = true
	}
	for _, m := range modules {
		for _, required := range m.mod.Require {
			if own[required.Mod.Path] {
				if err := m.mod.AddRequire(required.Mod.Path, version); err != nil {
					return err
				}
			}
		}
		data, err := m.mod.Format()
		if err != nil {
			return err
		}
		if err := os.WriteFile(m.file, data, 0o666); err != nil {
			return err
		}
	}
	return nil
}

var unreleased = regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+, unreleased|Unreleased)\n`)

// setHeading replaces CHANGELOG.md's heading for unreleased changes by the version and
// its date. A dated heading of the version stays.
func (r repo) setHeading(version string, now time.Time) error {
	name := filepath.Join(r.root, "CHANGELOG.md")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	heading := "## " + strings.TrimPrefix(version, "v")
	if !unreleased.Match(text) {
		if bytes.Contains(text, []byte("\n"+heading+", ")) {
			return nil
		}
		return fmt.Errorf("CHANGELOG.md has neither %q nor %q", "## Unreleased", heading)
	}
	dated := heading + ", " + now.Format(time.DateOnly) + "\n"
	return os.WriteFile(name, unreleased.ReplaceAll(text, []byte(dated)), 0o666)
}
