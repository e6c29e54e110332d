package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// A pkg is the package whose tests are asked, loaded from the copy of the tree.
type pkg struct {
	name  string // its directory below the root, for places
	dir   string // in the copy
	path  string // its import path
	fset  *token.FileSet
	files []*file
	types types.Importer // of what the package imports
}

// A file is one of the package's files that are no tests.
type file struct {
	name string
	src  []byte
	ast  *ast.File
}

// load parses the package, and finds the compiled types of what it imports.
func load(ctx context.Context, tree, name string) (*pkg, error) {
	p := &pkg{name: name, dir: filepath.Join(tree, name), fset: token.NewFileSet()}
	cmd := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-json=Dir,ImportPath,Export,GoFiles,DepOnly", ".")
	cmd.Dir = p.dir
	listed, err := cmd.Output()
	if err != nil {
		return nil, commandError(err)
	}
	exports := make(map[string]string)
	for dec := json.NewDecoder(bytes.NewReader(listed)); ; {
		var item struct {
			Dir, ImportPath, Export string
			GoFiles                 []string
			DepOnly                 bool
		}
		if err := dec.Decode(&item); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		exports[item.ImportPath] = item.Export
		if item.DepOnly {
			continue
		}
		p.path = item.ImportPath
		for _, base := range item.GoFiles {
			if err := p.parse(base); err != nil {
				return nil, err
			}
		}
	}
	p.types = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return p, p.check(nil, nil)
}

func (p *pkg) parse(base string) error {
	src, err := os.ReadFile(filepath.Join(p.dir, base))
	if err != nil {
		return err
	}
	tree, err := parser.ParseFile(p.fset, base, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	p.files = append(p.files, &file{name: base, src: src, ast: tree})
	return nil
}

// check type-checks the package with the text src in place of that of f, if any.
func (p *pkg) check(f *file, src []byte) error {
	var trees []*ast.File
	for _, each := range p.files {
		tree := each.ast
		if each == f {
			var err error
			if tree, err = parser.ParseFile(p.fset, f.name, src, parser.SkipObjectResolution); err != nil {
				return err
			}
			defer p.fset.RemoveFile(p.fset.File(tree.FileStart))
		}
		trees = append(trees, tree)
	}
	config := types.Config{Importer: p.types}
	_, err := config.Check(p.path, p.fset, trees, nil)
	return err
}

// copyTree copies the regular files of the repository, except what no test reads.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o777)
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o666)
	})
}

// commandError adds what the command said.
func commandError(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	return err
}
