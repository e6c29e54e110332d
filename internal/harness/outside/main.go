// Command outside does what a user does: it works in an empty module, with an empty
// module cache, and no checkout beside it. It publishes the checkout's modules to a
// module proxy in a folder, and then, for each module that is released:
//
//   - gets it, builds a program that imports each of its packages, tidies, and runs it;
//   - does the same after an update of the root to a later version in which everything
//     internal has another name;
//   - measures what it weighs, and compares that with docs/weight.md.
//
// It also runs README's Go program to the letter.
//
//	go run -C internal/harness ./outside
//	go run -C internal/harness ./outside -write           # docs/weight.md
//	go run -C internal/harness ./outside -emptybuild      # with an empty build cache too: minutes
//
// Other modules come from the machine's download cache, or from GOPROXY.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.root, "root", "../..", "the repository's `directory`")
	flag.BoolVar(&o.write, "write", false, "write docs/weight.md")
	flag.BoolVar(&o.emptyBuild, "emptybuild", false, "begin with an empty build cache")
	flag.Parse()
	began := time.Now()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "outside:", err)
		os.Exit(1)
	}
	fmt.Printf("passed, in %.0f s\n", time.Since(began).Seconds())
}

// Options are the values of the flags.
type options struct {
	root              string
	write, emptyBuild bool
}

func run(o options) error {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "svctoken-outside-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	modules, err := readModules(root)
	if err != nil {
		return err
	}
	p := proxy{dir: filepath.Join(temp, "proxy")}
	if p.version, p.later, err = versions(modules); err != nil {
		return err
	}
	for _, m := range modules {
		if err := p.publish(m, m.files, p.version); err != nil {
			return err
		}
	}
	if err := p.publish(modules[0], renameInternal(modules[0].files), p.later); err != nil {
		return err
	}
	place, err := newPlace(temp, p, o.emptyBuild)
	if err != nil {
		return err
	}
	if err := runReadme(place, filepath.Join(root, "README.md")); err != nil {
		return err
	}
	var weights []weight
	for _, m := range modules {
		w, err := visit(place, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.path, err)
		}
		fmt.Println(w)
		weights = append(weights, w)
	}
	page := filepath.Join(root, "docs/weight.md")
	if o.write {
		return writeWeights(page, weights)
	}
	return checkWeights(page, weights)
}
