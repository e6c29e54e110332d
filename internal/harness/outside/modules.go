package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	modzip "golang.org/x/mod/zip"
)

// A released module is one that is tagged. The first of a list is the root.
type released struct {
	path     string
	mod      []byte   // its go.mod
	files    []file   // the files of its zip
	packages []string // the import paths that users may import
}

// A file is one of a module's, in the zip that others download.
type file struct {
	path string
	data []byte
}

var _ modzip.File = file{}

func (f file) Path() string                 { return f.path }
func (f file) Lstat() (os.FileInfo, error)  { return info{f}, nil }
func (f file) Open() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(f.data)), nil }

// readModules returns the checkout's modules that are released, with the files that git
// tracks or would track; it leaves out ignored files.
func readModules(root string) ([]released, error) {
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	tree := make(map[string][]byte)
	for name := range strings.FieldsSeq(string(out)) {
		data, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			return nil, err
		}
		tree[name] = data
	}
	return modulesOf(tree)
}

// modulesOf divides a tree of files into its modules.
func modulesOf(tree map[string][]byte) ([]released, error) {
	byDir := make(map[string]*released)
	for name, data := range tree {
		if dir := path.Dir(name); path.Base(name) == "go.mod" && isReleased(dir) {
			byDir[dir] = &released{path: modfile.ModulePath(data), mod: data}
		}
	}
	for name, data := range tree {
		dir := path.Dir(name)
		for ; dir != "."; dir = path.Dir(dir) {
			if _, ok := tree[path.Join(dir, "go.mod")]; ok {
				break
			}
		}
		if m := byDir[dir]; m != nil {
			inside := name
			if dir != "." {
				inside = strings.TrimPrefix(name, dir+"/")
			}
			m.files = append(m.files, file{inside, data})
		}
	}
	var all []released
	for dir, m := range byDir {
		if _, ok := tree[path.Join(dir, "LICENSE")]; !ok {
			m.files = append(m.files, file{"LICENSE", tree["LICENSE"]}) // as the go command does it
		}
		slices.SortFunc(m.files, func(a, b file) int { return cmp.Compare(a.path, b.path) })
		m.packages = packagesOf(m.path, m.files)
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b released) int { return cmp.Compare(a.path, b.path) })
	if len(all) == 0 {
		return nil, fmt.Errorf("no module is released")
	}
	return all, nil
}

// versions returns the version at which the modules require the root, and a later one.
func versions(modules []released) (now, later string, err error) {
	for _, m := range modules {
		mod, err := modfile.Parse(m.path, m.mod, nil)
		if err != nil {
			return "", "", err
		}
		for _, r := range mod.Require {
			if r.Mod.Path == rootPath {
				now = r.Mod.Version
			}
		}
	}
	var major, minor int
	if _, err := fmt.Sscanf(now, "v%d.%d.", &major, &minor); err != nil {
		return "", "", fmt.Errorf("the modules require the root at %q: %w", now, err)
	}
	return now, fmt.Sprintf("v%d.%d.0", major, minor+1), nil
}

// isReleased reports whether the module in this folder is tagged: examples and internal
// modules are not.
func isReleased(dir string) bool {
	return !slices.Contains(strings.Split(dir, "/"), "internal") && !strings.HasPrefix(dir, "examples/")
}

// packagesOf returns the import paths of the packages that users may import.
func packagesOf(module string, files []file) []string {
	found := make(map[string]bool)
	for _, f := range files {
		dir := path.Dir(f.path)
		isCode := strings.HasSuffix(f.path, ".go") && !strings.HasSuffix(f.path, "_test.go")
		if !isCode || strings.HasPrefix(dir, "examples") || slices.ContainsFunc(strings.Split(dir, "/"), func(part string) bool { return part == "internal" || part == "testdata" }) {
			continue
		}
		found[path.Join(module, dir)] = true
	}
	var paths []string
	for p := range found {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// renameInternal returns the root's files with another name for each internal package.
func renameInternal(files []file) []file {
	const internal = "github.com/svctoken/svctoken/internal/"
	var renamed []file
	for _, f := range files {
		if rest, ok := strings.CutPrefix(f.path, "internal/"); ok {
			f.path = "internal/renamed" + rest
		}
		if strings.HasSuffix(f.path, ".go") {
			f.data = bytes.ReplaceAll(f.data, []byte(internal), []byte(internal+"renamed"))
		}
		renamed = append(renamed, f)
	}
	return renamed
}
