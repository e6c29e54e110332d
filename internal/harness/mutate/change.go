package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
)

// A change replaces a part of a file by another text with as many lines, so that
// the lines of the rest keep their numbers.
type change struct {
	file       *file
	place      string // directory/file.go:line
	what       string
	head       string // the first line, for a change at the end of a statement
	start, end int    // what is replaced
	text       string
	equivalent bool // the change makes no difference: see isLock
}

const swapped = "statements swapped"

// apply returns the changed text of the file.
func (c *change) apply() []byte {
	return bytes.Join([][]byte{c.file.src[:c.start], []byte(c.text), c.file.src[c.end:]}, nil)
}

// diff returns the lines that the change touches, before and after it.
func (c *change) diff() string {
	first := bytes.LastIndexByte(c.file.src[:c.start], '\n') + 1
	last := len(c.file.src)
	if n := bytes.IndexByte(c.file.src[c.end:], '\n'); n >= 0 {
		last = c.end + n
	}
	before := string(c.file.src[first:last])
	after := string(c.file.src[first:c.start]) + c.text + string(c.file.src[c.end:last])
	return lines(" ", c.head) + lines("-", before) + lines("+", after)
}

// lines puts sign in front of the first few lines that are not blank.
func lines(sign, text string) string {
	const most = 6
	var b strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\n")
		if line == "" {
			continue
		}
		if n++; n > most {
			fmt.Fprintf(&b, "%s\t...\n", sign)
			break
		}
		fmt.Fprintf(&b, "%s%s\n", sign, line)
	}
	return b.String()
}

// changes returns all changes of the package whose places match, with or without swaps
// of statements, in random order.
func (p *pkg) changes(seed uint64, at *regexp.Regexp, swaps bool) []*change {
	random := rand.New(rand.NewPCG(seed, 0))
	f := &finder{pkg: p, random: random}
	for _, f.file = range p.files {
		ast.Inspect(f.file.ast, f.visit)
	}
	var all []*change
	for _, c := range f.found {
		if at.MatchString(c.place) && (swaps || c.what != swapped) {
			all = append(all, c)
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// choose returns the next n changes that are not equivalent and type-check, and the rest.
func (p *pkg) choose(all []*change, n int) (chosen, rest []*change) {
	for len(chosen) < n && len(all) > 0 {
		if !all[0].equivalent && p.check(all[0].file, all[0].apply()) == nil {
			chosen = append(chosen, all[0])
		}
		all = all[1:]
	}
	return chosen, all
}

// A finder collects the changes that a file's syntax allows. Not all compile.
type finder struct {
	pkg    *pkg
	random *rand.Rand
	file   *file
	found  []*change
}

// visit adds the changes of one node.
func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.ImportSpec:
		return false
	case *ast.Field: // a struct's tag is no constant; types have nothing to change
		return false
	case *ast.BlockStmt:
		f.statements(n.List)
		f.cases(n.List)
	case *ast.CaseClause:
		f.statements(n.Body)
		if len(n.List) > 1 { // a single one is the case
			dropEach(f, "case value left out", n.List)
		}
	case *ast.CommClause:
		f.statements(n.Body)
	case *ast.IfStmt:
		f.negate(n.Cond)
	case *ast.ForStmt:
		f.negate(n.Cond)
		f.once(n, n.Body)
	case *ast.RangeStmt:
		f.once(n, n.Body)
	case *ast.BinaryExpr:
		f.keep(n, n.X)
		f.keep(n, n.Y)
	case *ast.CallExpr:
		dropEach(f, "argument left out", n.Args)
	case *ast.CompositeLit:
		dropEach(f, "element left out", n.Elts)
	case *ast.BasicLit:
		f.constant(n)
	case *ast.Ident:
		f.boolean(n)
	}
	return true
}

// add adds one change, which it pads to as many lines as it replaces.
func (f *finder) add(what string, start, end token.Pos, text string, pad func(text, newlines string) string) *change {
	c := &change{file: f.file, place: f.place(start), what: what, start: f.offset(start), end: f.offset(end)}
	missing := bytes.Count(f.file.src[c.start:c.end], []byte("\n")) - strings.Count(text, "\n")
	c.text = text
	if missing > 0 {
		c.text = pad(text, strings.Repeat("\n", missing))
	}
	f.found = append(f.found, c)
	return c
}

// after pads a place at which a line may end; inside pads an expression, after which no
// line may end.
func after(text, newlines string) string  { return text + newlines }
func inside(text, newlines string) string { return "(" + newlines + text + ")" }

func (f *finder) offset(at token.Pos) int { return f.pkg.fset.Position(at).Offset }

func (f *finder) text(n ast.Node) string {
	return string(f.file.src[f.offset(n.Pos()):f.offset(n.End())])
}

func (f *finder) place(at token.Pos) string {
	return fmt.Sprintf("%s/%s:%d", f.pkg.name, f.file.name, f.pkg.fset.Position(at).Line)
}

// statements deletes each statement of a list, and swaps it with the next.
func (f *finder) statements(list []ast.Stmt) {
	for i, s := range list {
		if isClause(s) {
			return
		}
		if _, ok := s.(*ast.EmptyStmt); ok {
			continue
		}
		f.add("statement deleted", s.Pos(), s.End(), "", after)
		if i+1 < len(list) {
			t := list[i+1]
			between := string(f.file.src[f.offset(s.End()):f.offset(t.Pos())])
			c := f.add(swapped, s.Pos(), t.End(), f.text(t)+between+f.text(s), after)
			c.equivalent = isLock(f.text(s) + between + f.text(t))
		}
	}
}

// lockThenDefer matches x.Lock() and defer x.Unlock(), or the same for readers, if x is
// a name or a field: a call or an index could be another mutex each time.
var lockThenDefer = regexp.MustCompile(`^([\w.]+)\.(R?)Lock\(\)\n\s*defer ([\w.]+)\.(R?)Unlock\(\)$`)

// isLock reports whether two statements lock a mutex and defer its unlocking.
// A swap of these is no change: a deferred call runs when the function ends.
func isLock(text string) bool {
	m := lockThenDefer.FindStringSubmatch(text)
	return m != nil && m[1] == m[3] && m[2] == m[4]
}

func isClause(s ast.Stmt) bool {
	switch s.(type) {
	case *ast.CaseClause, *ast.CommClause:
		return true
	}
	return false
}

// cases leaves out each case of a switch or select.
func (f *finder) cases(list []ast.Stmt) {
	for _, s := range list {
		if isClause(s) {
			f.add("case left out", s.Pos(), s.End(), "", after)
		}
	}
}

func (f *finder) negate(cond ast.Expr) {
	if cond != nil {
		f.add("condition negated", cond.Pos(), cond.End(), "!("+f.text(cond)+")", inside)
	}
}

// once ends a loop at the end of its first round.
func (f *finder) once(loop ast.Stmt, body *ast.BlockStmt) {
	c := f.add("loop runs once", body.Rbrace, body.Rbrace, "; break; ", after)
	c.place = f.place(loop.Pos())
	c.head, _, _ = strings.Cut(f.text(loop), "\n")
}

// keep reduces a binary expression to one of its operands.
func (f *finder) keep(e *ast.BinaryExpr, operand ast.Expr) {
	f.add("operand left out", e.Pos(), e.End(), f.text(operand), inside)
}

// dropEach leaves out each element of a list that commas separate.
func dropEach[E ast.Expr](f *finder, what string, list []E) {
	for i, e := range list {
		start, end := e.Pos(), e.End()
		switch src := f.file.src[f.offset(end):]; {
		case src[0] == ',':
			end++
		case i > 0: // the last, without a comma of its own
			start = list[i-1].End()
		}
		f.add(what, start, end, "", after)
	}
}

// constant changes a number by one, and empties or prefixes a string.
func (f *finder) constant(lit *ast.BasicLit) {
	text := "0"
	switch lit.Kind {
	case token.INT:
		if n, err := strconv.ParseUint(lit.Value, 0, 64); err == nil {
			text = strconv.FormatUint(n+1, 10)
			if n == 1 && f.random.IntN(2) == 0 {
				text = "0"
			}
		}
	case token.CHAR:
		if r, _, _, err := strconv.UnquoteChar(lit.Value[1:], '\''); err == nil {
			text = strconv.QuoteRune(r + 1)
		}
	case token.STRING:
		s, err := strconv.Unquote(lit.Value)
		if text = `""`; err != nil || s == "" || f.random.IntN(2) == 0 {
			text = strconv.Quote("x" + s)
		}
	}
	f.add("constant changed", lit.Pos(), lit.End(), text, inside)
}

func (f *finder) boolean(id *ast.Ident) {
	other := map[string]string{"true": "false", "false": "true"}[id.Name]
	if other != "" {
		f.add("constant changed", id.Pos(), id.End(), other, inside)
	}
}
