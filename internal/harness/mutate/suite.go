package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A suite is the tests of one package.
type suite struct {
	dir string // in the copy
	own bool   // it is the changed package itself
}

// suites returns the package's own tests, if there are any, and those of the named
// packages, which must use the package: others would notice nothing.
func suites(ctx context.Context, tree string, p *pkg, names string) (list []suite, err error) {
	own, err := listTests(ctx, p.dir)
	if err != nil {
		return nil, err
	}
	if own.has() {
		list = append(list, suite{p.dir, true})
	}
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		dir := filepath.Join(tree, name)
		tests, err := listTests(ctx, dir)
		switch {
		case err != nil:
			return nil, fmt.Errorf("-tests %s: %w", name, err)
		case !tests.has():
			return nil, fmt.Errorf("-tests %s: it has no tests", name)
		case !slices.Contains(tests.Deps, p.path):
			return nil, fmt.Errorf("-tests %s: its tests do not use %s", name, p.path)
		}
		list = append(list, suite{dir, false})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("it has no tests: name those of other packages with -tests")
	}
	return list, nil
}

// tests is the output of go list for a package's tests.
type tests struct {
	TestGoFiles, XTestGoFiles []string
	Deps                      []string // of the tests' binary
}

func (t tests) has() bool { return len(t.TestGoFiles)+len(t.XTestGoFiles) > 0 }

func listTests(ctx context.Context, dir string) (t tests, err error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-json=TestGoFiles,XTestGoFiles", ".")
	cmd.Dir = dir
	listed, err := cmd.Output()
	if err != nil {
		return t, commandError(err)
	}
	if err := json.Unmarshal(listed, &t); err != nil || !t.has() {
		return t, err
	}
	cmd = exec.CommandContext(ctx, "go", "list", "-test", "-deps", "-f", "{{with .ForTest}}{{else}}{{.ImportPath}}{{end}}", ".")
	cmd.Dir = dir
	if listed, err = cmd.Output(); err != nil {
		return t, commandError(err)
	}
	t.Deps = strings.Fields(string(listed))
	return t, nil
}
