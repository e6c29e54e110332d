package svctoken_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// withoutExample are the exported names that no example uses, with the reason.
var withoutExample = map[string]string{
	"evict.SelectorError.Unwrap":      byErrors,
	"fleet.UnconfirmedError.Unwrap":   byErrors,
	"tokencache.NoAnswerError.Unwrap": byErrors,
	"tokenhash.Hash.LogValue":         byEncoders,
	"tokenhash.Hash.MarshalText":      byEncoders,
	"tokencache.Secret.LogValue":      byEncoders,
	"tokencache.Secret.MarshalText":   byEncoders,
	"tokencache.Token.LogValue":       byEncoders,
	"tokencache.Token.MarshalText":    byEncoders,
}

const (
	byErrors   = "errors.Is and errors.As call it"
	byEncoders = "log/slog and the encoders call it"
)

// TestExamples: each exported name of a room is used by an Example, by the code of
// docs/embedding.md or by a program under examples. A top-level name counts if it is
// written with its package, a field or a method if its name is written after a dot or
// as a key.
func TestExamples(t *testing.T) {
	used := make(map[string]bool)
	for _, path := range exampleFiles(t) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		collect(file, used)
	}
	for _, pkg := range packages(t) {
		for _, name := range exportedNames(pkg) {
			_, short, member := strings.Cut(strings.TrimPrefix(name, pkg.Name()+"."), ".")
			known := used[name] || member && used["."+short]
			if _, excused := withoutExample[name]; known == excused {
				t.Errorf("%s: used in an example: %t, and in withoutExample: %t", name, known, excused)
			}
		}
	}
}

// exampleFiles returns the files that have examples.
func exampleFiles(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		inside := strings.HasPrefix(path, "examples") && strings.HasSuffix(path, ".go")
		if inside || strings.HasSuffix(path, "example_test.go") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) < 20 {
		t.Fatalf("got %d files, %v", len(paths), err)
	}
	return paths
}

// collect notes what a file uses: package.Name, and .Name for what may be a
// field or a method.
func collect(file *ast.File, used map[string]bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			used["."+n.Sel.Name] = true
			if x, ok := n.X.(*ast.Ident); ok {
				used[x.Name+"."+n.Sel.Name] = true
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok {
				used["."+key.Name] = true
			}
		case *ast.FuncDecl:
			used["."+n.Name.Name] = n.Recv != nil || used["."+n.Name.Name]
		}
		return true
	})
}

// exportedNames returns a package's exported names, those of fields and methods as
// package.Type.Name.
func exportedNames(pkg *types.Package) (names []string) {
	for _, name := range pkg.Scope().Names() {
		obj := pkg.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		full := pkg.Name() + "." + name
		names = append(names, full)
		typeName, ok := obj.(*types.TypeName)
		if !ok {
			continue
		}
		if u, ok := typeName.Type().Underlying().(*types.Struct); ok {
			for f := range u.Fields() {
				if f.Exported() {
					names = append(names, full+"."+f.Name())
				}
			}
		}
		typ := typeName.Type()
		if !types.IsInterface(typ) {
			typ = types.NewPointer(typ)
		}
		for method := range types.NewMethodSet(typ).Methods() {
			if method.Obj().Exported() {
				names = append(names, full+"."+method.Obj().Name())
			}
		}
	}
	return names
}
