package main

import (
	"strings"
	"testing"
	"time"
)

// TestSoak: a short run of all attacks has no wrong verdict, the counters add up, good
// tokens get their turns, and nothing is left.
func TestSoak(t *testing.T) {
	var out strings.Builder
	if !run(t.Context(), &out, options{total: 3300 * time.Millisecond, attackers: 16, bcrypt: 10}) {
		t.Error("a promise was not kept")
	}
	t.Log(out.String())
}

// TestOptions: unknown attacks are refused, with a list of those that exist.
func TestOptions(t *testing.T) {
	good := options{total: time.Second, attackers: 1, bcrypt: 10}
	if err := good.check(); err != nil {
		t.Errorf("got %v", err)
	}
	for want, change := range map[string]func(*options){
		`-only "zzz": no attack's name contains it; there are "`: func(o *options) { o.only = "zzz" },
		"-for -1s: ":       func(o *options) { o.total = -time.Second },
		"-for 0s: ":        func(o *options) { o.total = 0 },
		"-attackers 0: ":   func(o *options) { o.attackers = 0 },
		"-bcrypt 3: ":      func(o *options) { o.bcrypt = 3 },
		"-bcrypt 32: a co": func(o *options) { o.bcrypt = 32 },
	} {
		bad := good
		change(&bad)
		if err := bad.check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
