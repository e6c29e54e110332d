package eswire

import (
	"strings"
	"unicode/utf8"
)

// bearerStart begins every bearer of a service token. In a text that has it, a secret may
// follow.
const bearerStart = "AAEAA"

const most = 256 // bytes of a request that a reason repeats

// Bracket returns s in square brackets. It is cut if it is long, and at what may be a
// bearer: answers and logs repeat much of a request, and people paste a bearer into
// every field.
func Bracket(s string) string { return "[" + cut(Redact(s)) + "]" }

// Redact returns s, cut after the beginning of a bearer if there is one.
func Redact(s string) string {
	if before, _, ok := strings.Cut(s, bearerStart); ok {
		return before + bearerStart + "..."
	}
	return s
}

func cut(s string) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// IsBearer reports whether a name begins as a bearer does.
func IsBearer(name string) bool { return strings.HasPrefix(name, bearerStart) }

// Shorten returns the beginning of an unknown user's name: a person may have typed a
// password there. It is at most three characters, and at most a quarter of the name.
func Shorten(name string) string {
	name = strings.ToValidUTF8(name, "")
	end := 0
	for range min(3, utf8.RuneCountInString(name)/4) {
		_, size := utf8.DecodeRuneInString(name[end:])
		end += size
	}
	return name[:end] + "..."
}
