// Command release prepares a release of all modules, in step:
//
//	go run -C internal/tools ./release v0.2.0
//
// It sets the version at which each go.mod requires the others, checks that every
// module is tidy, compares the API of each with the last release, writes the version
// under CHANGELOG.md's heading, and prints the tags to set. It neither commits nor tags.
// It stops at the first check that fails, with the files changed so far: git shows them.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run -C internal/tools ./release VERSION")
		os.Exit(2)
	}
	root, err := filepath.Abs("../..")
	if err == nil {
		err = release(repo{root}, os.Args[1], time.Now())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release prepares a version of all modules.
func release(r repo, version string, now time.Time) error {
	last, err := r.lastRelease()
	if err != nil {
		return err
	}
	if err := follows(last, version); err != nil {
		return err
	}
	modules, err := r.modules()
	if err != nil {
		return err
	}
	if err := setVersions(modules, version); err != nil {
		return err
	}
	for _, m := range modules {
		if _, err := r.run(m.dir, "go", "mod", "tidy", "-diff"); err != nil {
			return fmt.Errorf("%s is not tidy: %w", m.path, err)
		}
	}
	if last == "" {
		fmt.Println("There is no earlier release to compare the API with.")
	} else if err := compare(r, modules, last, version); err != nil {
		return err
	}
	if err := r.setHeading(version, now); err != nil {
		return err
	}
	fmt.Printf("Commit this, run .ci/run -all, and set these tags on the commit:\n\n")
	for _, m := range modules {
		if m.released() {
			fmt.Println("\tgit tag", m.tag(version))
		}
	}
	return nil
}
