package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
)

// A proxy is a module proxy in a folder.
type proxy struct {
	dir     string
	version string // of the checkout's modules
	later   string // of a root whose internal packages have other names
}

// publish adds a version of a module.
func (p proxy) publish(m released, files []file, version string) error {
	escaped, err := module.EscapePath(m.path)
	if err != nil {
		return err
	}
	base := filepath.Join(p.dir, filepath.FromSlash(escaped), "@v", version)
	if err := os.MkdirAll(filepath.Dir(base), 0o777); err != nil {
		return err
	}
	var zipped []modzip.File
	for _, f := range files {
		zipped = append(zipped, f)
	}
	out, err := os.Create(base + ".zip")
	if err != nil {
		return err
	}
	defer out.Close()
	if err := modzip.Create(out, module.Version{Path: m.path, Version: version}, zipped); err != nil {
		return fmt.Errorf("%s: %w", m.path, err)
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := os.WriteFile(base+".mod", m.mod, 0o666); err != nil {
		return err
	}
	return os.WriteFile(base+".info", fmt.Appendf(nil, "{%q:%q}", "Version", version), 0o666)
}

// info returns the info of a file.
type info struct{ f file }

func (i info) Name() string     { return path.Base(i.f.path) }
func (i info) Size() int64      { return int64(len(i.f.data)) }
func (info) Mode() fs.FileMode  { return 0o666 }
func (info) ModTime() time.Time { return time.Time{} }
func (info) IsDir() bool        { return false }
func (info) Sys() any           { return nil }
