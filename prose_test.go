package svctoken_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// phrases are not used in comments and pages: a reader stops at each. What is on the
// right says the same in plain words.
var phrases = []struct{ phrase, instead string }{
	{`(is|are|was) none`, "is no ..., or is not a ..."},
	{`all the same`, "still, or anyway"},
	{`but for (a|an|the|that|what|one|its|those|this)`, "except"},
	{`but that`, "except that"},
	{`(come|comes|came|coming) by`, "is delivered"},
	{`dear(er|est)?`, "expensive"},
	{`where none`, "if there is no ..."},
	{`whoever`, "the user, the caller or the node that ..."},
	{`for good`, "for ever, unless it is about good tokens"},
	{`(of late|in vain)`, "recently, or without effect"},
	{`(fails?|errors?|ends?|returned|returns|absent|missing|nil|zero) where (it|they|there|that|the|a|an|no)`, "if"},
	{`(has|have) (it|them|others|everybody|each) (be|do|go|wait|call|told|asked|made)`, "makes, or lets"},
}

// plain matches the plain uses of two phrases.
var plain = regexp.MustCompile(`(?i)\b(there (is|are|was) none|for good (reason|tokens))\b`)

// TestProse: comments and pages do without the phrases.
func TestProse(t *testing.T) {
	alternatives := make([]string, len(phrases))
	for i, p := range phrases {
		alternatives[i] = `\b` + p.phrase + `\b`
	}
	banned := regexp.MustCompile(`(?i)` + strings.Join(alternatives, "|"))
	read := 0
	for path, lines := range prose(t) {
		read++
		for number, line := range lines {
			if found := banned.FindString(plain.ReplaceAllString(line, "")); found != "" {
				t.Errorf("%s:%d: %q reads as a translation; write %s", path, number+1, found, insteadOf(found))
			}
		}
	}
	if read < 200 {
		t.Errorf("only %d files were read", read)
	}
}

// insteadOf returns what to write in the place of a phrase that was found.
func insteadOf(found string) string {
	for _, p := range phrases {
		if regexp.MustCompile(`(?i)^` + p.phrase + `$`).MatchString(found) {
			return p.instead
		}
	}
	return "something plainer"
}

// prose returns the lines of each page, and of each Go file those with a comment, all
// others being empty.
func prose(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && (name == "node_modules" || name == "testdata" || len(name) > 1 && name[0] == '.'):
			return fs.SkipDir
		case path == "prose_test.go", d.IsDir():
		case filepath.Ext(name) == ".md":
			files[path] = strings.Split(read(t, path), "\n")
		case filepath.Ext(name) == ".go":
			files[path] = comments(read(t, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(fmt.Errorf("walk: %w", err))
	}
	return files
}

// comments returns the text behind // in each line.
func comments(src string) []string {
	lines := strings.Split(src, "\n")
	for i, line := range lines {
		_, lines[i], _ = strings.Cut(line, "// ")
	}
	return lines
}
