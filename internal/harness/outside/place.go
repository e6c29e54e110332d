package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A place is a user's environment: no checkout, and an empty module cache.
type place struct {
	proxy
	dir string
	env []string
}

// newPlace makes a place below a folder, whose modules come from the proxy.
func newPlace(temp string, p proxy, emptyBuild bool) (place, error) {
	known, err := exec.Command("go", "env", "GOMODCACHE", "GOPROXY").Output()
	if err != nil {
		return place{}, fmt.Errorf("go env: %w", err)
	}
	cache, rest, _ := strings.Cut(strings.TrimSpace(string(known)), "\n")
	pl := place{proxy: p, dir: filepath.Join(temp, "place")}
	pl.env = append(os.Environ(),
		"GOPROXY=file://"+filepath.ToSlash(p.dir)+",file://"+filepath.ToSlash(cache)+"/cache/download,"+rest,
		"GOMODCACHE="+filepath.Join(temp, "mod"),
		"GOFLAGS=-modcacherw -trimpath", // so that it can be removed, and the build cache serves the next run
		"GOSUMDB=off", "GOWORK=off", "GOTOOLCHAIN=local")
	if emptyBuild {
		pl.env = append(pl.env, "GOCACHE="+filepath.Join(temp, "build"))
	}
	return pl, nil
}

// module makes an empty module with one file, and returns a function which runs a
// command in it.
func (pl place) module(name, mainGo string) (run func(args ...string) (string, error), dir string, err error) {
	dir = filepath.Join(pl.dir, name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(mainGo), 0o666); err != nil {
		return nil, "", err
	}
	run = func(args ...string) (string, error) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, append(pl.env, "PWD="+dir)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
		}
		return string(out), nil
	}
	_, err = run("go", "mod", "init", "example.org/"+name)
	return run, dir, err
}
