package svctoken_test

import (
	"bytes"
	"go/ast"
	"go/printer"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// otherAPI lists what public packages that are no rooms export: those of the nested
// modules, and of the root. It reads their source alone, so that the root's tests need
// nothing of what those modules depend on.
func otherAPI(t *testing.T) (lines []string) {
	t.Helper()
	all := goModules(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if m := all[name]; m.released() {
			for _, dir := range packageDirs(t, m, all) {
				if _, room := rooms[dir]; !room {
					lines = append(lines, sourceAPI(t, dir)...)
				}
			}
		}
	}
	return lines
}

// packageDirs returns the folders of a module's public packages.
func packageDirs(t *testing.T, m goModule, all map[string]goModule) (dirs []string) {
	for _, file := range gitFiles(t, path.Join(m.dir, "*.go")) {
		dir := path.Dir(file)
		public := !strings.HasPrefix(dir, "examples/") && !slices.Contains(strings.Split(dir, "/"), "internal")
		if public && owner(all, file).path == m.path && !strings.HasSuffix(file, "_test.go") && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// sourceAPI lists a package's API: one line for each object, exported field and
// exported method, as exported does it.
func sourceAPI(t *testing.T, dir string) (lines []string) {
	t.Helper()
	for _, file := range parseDir(t, dir) {
		add := func(parts ...any) {
			var b bytes.Buffer
			for _, part := range parts {
				if text, ok := part.(string); ok {
					b.WriteString(text)
				} else if err := printer.Fprint(&b, token.NewFileSet(), part); err != nil {
					t.Fatal(err)
				}
			}
			lines = append(lines, file.Name.Name+": "+strings.Join(strings.Fields(b.String()), " "))
		}
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				addFunc(d, add)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					addSpec(d.Tok, spec, add)
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func addFunc(d *ast.FuncDecl, add func(...any)) {
	signature := strings.TrimPrefix(text(d.Type), "func")
	if d.Recv == nil {
		if d.Name.IsExported() {
			add("func ", d.Name.Name, signature)
		}
		return
	}
	receiver := strings.TrimPrefix(text(d.Recv.List[0].Type), "*")
	if d.Name.IsExported() && ast.IsExported(receiver) {
		add("type ", receiver, ", method ", d.Name.Name, signature)
	}
}

func text(node ast.Node) string {
	var b strings.Builder
	printer.Fprint(&b, token.NewFileSet(), node) // a Builder takes all
	return b.String()
}

func addSpec(tok token.Token, spec ast.Spec, add func(...any)) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && s.Type != nil {
				add(tok.String(), " ", name.Name, " ", s.Type)
			} else if name.IsExported() {
				add(tok.String(), " ", name.Name)
			}
		}
	case *ast.TypeSpec:
		if s.Name.IsExported() {
			addType(s, add)
		}
	}
}

func addType(s *ast.TypeSpec, add func(...any)) {
	members := func(kind, noun string, list []*ast.Field) {
		add("type ", s.Name.Name, " ", kind)
		for _, f := range list {
			for _, name := range f.Names {
				if name.IsExported() {
					add("type ", s.Name.Name, ", ", noun, " ", name.Name, " ", f.Type)
				}
			}
			name := text(f.Type)
			if len(f.Names) == 0 && ast.IsExported(name[strings.LastIndexAny(name, ".*")+1:]) {
				add("type ", s.Name.Name, ", embedded ", f.Type)
			}
		}
	}
	switch u := s.Type.(type) {
	case *ast.StructType:
		members("struct", "field", u.Fields.List)
	case *ast.InterfaceType:
		members("interface", "method", u.Methods.List)
	default:
		add("type ", s.Name.Name, " ", u)
	}
}
