package eswire

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// A filter is the list of paths of a filter_path that still apply to a value: one
// says which fields to write, another which not to. In a path, * stands for any
// part of a name, and ** for any number of names.
type filter struct {
	paths   [][]string // each not empty
	exclude bool
}

const anyDepth = "**"

// apply returns the fields of a JSON object that the filter_path lets through. An inner
// object that has lost all its fields is removed too.
func apply(filterPath string, body json.RawMessage) json.RawMessage {
	include, exclude := filter{}, filter{exclude: true}
	for path := range strings.SplitSeq(filterPath, ",") {
		path = strings.TrimSpace(path)
		if rest, ok := strings.CutPrefix(path, "-"); ok {
			exclude.add(rest)
		} else {
			include.add(path)
		}
	}
	for _, f := range []filter{include, exclude} {
		if len(f.paths) == 0 {
			continue
		}
		var ok bool
		if body, ok = f.value(body); !ok {
			body = json.RawMessage("{}")
		}
	}
	return body
}

func (f *filter) add(path string) {
	if path == "" {
		return
	}
	parts := splitPath(path)
	// Twice any number is any number; with many of them, the paths that apply to a
	// value would double with its depth.
	f.paths = append(f.paths, slices.CompactFunc(parts, func(a, b string) bool { return a == anyDepth && b == anyDepth }))
}

// splitPath splits at the dots that have no backslash before them.
func splitPath(path string) []string {
	const escaped = "\x00" // which is in no name
	parts := strings.Split(strings.ReplaceAll(path, `\.`, escaped), ".")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], escaped, ".")
	}
	return parts
}

// value returns what is left of a value that some path leads into, and reports whether
// anything is left.
func (f filter) value(raw json.RawMessage) (json.RawMessage, bool) {
	const empty = len("{}") // what was empty from the start has lost nothing
	switch {
	case len(raw) == empty && f.exclude:
		return raw, true
	case raw[0] == '{':
		return f.object(raw)
	case raw[0] == '[':
		return f.array(raw)
	default:
		return raw, f.exclude // the paths go deeper than the value
	}
}

func (f filter) object(raw json.RawMessage) (json.RawMessage, bool) {
	var out bytes.Buffer
	fields(raw, func(name string, key, value json.RawMessage) {
		if value, ok := f.field(name, value); ok {
			separate(&out, '{')
			out.Write(key)
			out.WriteByte(':')
			out.Write(value)
		}
	})
	return end(&out, '}')
}

func (f filter) array(raw json.RawMessage) (json.RawMessage, bool) {
	var out bytes.Buffer
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.Token() // no step fails: the value was marshalled here
	for dec.More() {
		var value json.RawMessage
		dec.Decode(&value)
		if value, ok := f.value(value); ok {
			separate(&out, '[')
			out.Write(value)
		}
	}
	return end(&out, ']')
}

// field returns what is left of a field's value, and reports whether anything is left.
func (f filter) field(name string, value json.RawMessage) (json.RawMessage, bool) {
	next := filter{exclude: f.exclude}
	for _, path := range f.paths {
		if next.follow(path, name) {
			return value, !f.exclude
		}
	}
	if len(next.paths) == 0 {
		return value, f.exclude
	}
	return next.value(value)
}

// follow adds the rest of a path after the name, and reports whether the path ends there.
func (f *filter) follow(path []string, name string) bool {
	if path[0] == anyDepth {
		if len(path) == 1 {
			return true
		}
		f.paths = append(f.paths, path)
		return f.follow(path[1:], name)
	}
	if !glob(path[0], name) {
		return false
	}
	if len(path) == 1 || len(path) == 2 && path[1] == anyDepth {
		return true
	}
	f.paths = append(f.paths, path[1:])
	return false
}

// glob reports whether the name matches the pattern, in which * stands for any
// number of characters.
func glob(pattern, name string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	name, ok := strings.CutPrefix(name, first)
	if !ok || !wild {
		return ok && name == ""
	}
	for {
		var middle string
		middle, rest, wild = strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(name, middle)
		}
		_, name, ok = strings.Cut(name, middle)
		if !ok {
			return false
		}
	}
}

// fields calls f for each field of an object.
func fields(raw json.RawMessage, f func(name string, key, value json.RawMessage)) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.Token() // no step fails: the value was marshalled here
	for dec.More() {
		token, _ := dec.Token()
		name, _ := token.(string)
		key, _ := json.Marshal(name)
		var value json.RawMessage
		dec.Decode(&value)
		f(name, key, value)
	}
}

func separate(out *bytes.Buffer, open byte) {
	if out.Len() == 0 {
		out.WriteByte(open)
	} else {
		out.WriteByte(',')
	}
}

func end(out *bytes.Buffer, closing byte) (json.RawMessage, bool) {
	if out.Len() == 0 {
		return nil, false
	}
	out.WriteByte(closing)
	return out.Bytes(), true
}
