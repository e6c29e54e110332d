package main

import (
	"flag"
	"testing"
	"time"
)

// TestMeasure: a short run finds that caching pays by far for expensive hashes. The
// page says how far.
func TestMeasure(t *testing.T) {
	flag.Set("root", "../../../..")
	flag.Set("duration", (500 * time.Millisecond).String())
	cached, err := measure("20m", file)
	if err != nil {
		t.Fatal(err)
	}
	uncached, err := measure("0", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s and %s requests a second", cached.Rate(), uncached.Rate())
	if cached.rate < 3*uncached.rate {
		t.Errorf("with caching %s requests a second, without %s", cached.Rate(), uncached.Rate())
	}
}
