package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// visit does what a user of all of a module's packages does, and returns the module's
// weight.
func visit(pl place, m released) (weight, error) {
	run, dir, err := pl.module(path.Base(m.path), program(m.packages))
	if err != nil {
		return weight{}, err
	}
	w := weight{module: m.path, packages: len(m.packages)}
	for _, step := range [][]string{
		{"go", "get", m.path + "@" + pl.version},
		{"go", "mod", "tidy"},
		{"go", "build", "-o", "program", "."},
		{"./program"},
	} {
		if _, err := run(step...); err != nil {
			return weight{}, err
		}
	}
	if err := w.measure(run, dir); err != nil {
		return weight{}, err
	}
	if m.path == rootPath {
		return w, nil
	}
	for _, step := range [][]string{
		{"go", "get", rootPath + "@" + pl.later},
		{"go", "build", "-o", "program", "."},
		{"./program"},
	} {
		if _, err := run(step...); err != nil {
			return weight{}, fmt.Errorf("with a root of %s whose internal packages have other names: %w", pl.later, err)
		}
	}
	return w, nil
}

const rootPath = "github.com/svctoken/svctoken"

// program returns the text of a program that imports packages.
func program(packages []string) string {
	var b strings.Builder
	b.WriteString("package main\n\nimport (\n")
	for _, p := range packages {
		fmt.Fprintf(&b, "\t_ %q\n", p)
	}
	b.WriteString(")\n\nfunc main() {}\n")
	return b.String()
}

// measure counts the modules and the bytes that the module in the folder has got.
func (w *weight) measure(run func(args ...string) (string, error), dir string) error {
	list, err := run("go", "list", "-m", "all")
	if err != nil {
		return err
	}
	w.modules = strings.Count(list, "\n") - 1 // itself
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	w.lines = strings.Count(string(mod), "\n")
	binary, err := os.Stat(filepath.Join(dir, "program"))
	if err != nil {
		return err
	}
	w.bytes = binary.Size()
	return nil
}
