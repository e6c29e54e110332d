// Package quote quotes input for messages, so that hostile input cannot flood them.
package quote

import "fmt"

const most = 128 // bytes

// Short returns s in double quotes, with its unprintable characters escaped, and
// cut if it is long.
func Short(s string) string {
	if len(s) <= most {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q... (%d bytes)", s[:most], len(s))
}
