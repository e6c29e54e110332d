package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/semver"
)

// compare prints how the API of each module differs from the last release. A change that
// breaks users is an error in a version that must not break them: a patch, or any version
// since v1.
func compare(r repo, modules []module, last, version string) error {
	temp, err := os.MkdirTemp("", "svctoken-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	old := filepath.Join(temp, "old")
	if _, err := r.run(".", "git", "worktree", "add", "--detach", old, last); err != nil {
		return err
	}
	defer r.run(".", "git", "worktree", "remove", "--force", old)
	broken := false
	for _, m := range modules {
		if _, err := os.Stat(filepath.Join(old, m.dir, "go.mod")); !m.released() || err != nil {
			continue // new, or not for others to require
		}
		export := filepath.Join(temp, "export")
		if _, err := (repo{old}).run(m.dir, r.apidiff("-m", "-w", export, m.path)...); err != nil {
			return err
		}
		all, err := r.run(m.dir, r.apidiff("-m", export, m.path)...)
		if err != nil {
			return err
		}
		breaks, err := r.run(m.dir, r.apidiff("-incompatible", "-m", export, m.path)...)
		if err != nil {
			return err
		}
		if all != "" {
			fmt.Printf("%s, since %s:\n%s\n", m.path, last, all)
		}
		broken = broken || strings.TrimSpace(breaks) != ""
	}
	if broken && !mayBreak(last, version) {
		return fmt.Errorf("%s may not break what %s promised", version, last)
	}
	return nil
}

// mayBreak reports whether a version may break users of the last one: of a v0, with
// another second number, or v1.0.0.
func mayBreak(last, version string) bool {
	return semver.Major(last) == "v0" && semver.MajorMinor(version) != semver.MajorMinor(last)
}

func (r repo) apidiff(args ...string) []string {
	return append([]string{"go", "tool", "-modfile=" + filepath.Join(r.root, "internal/tools/go.mod"), "apidiff"}, args...)
}
