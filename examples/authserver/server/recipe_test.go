package server

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestRecipes: the unit file and the container of docs/operations.md start the server with
// flags that it has, and give it the time that it takes to end.
func TestRecipes(t *testing.T) {
	content, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	find := func(pattern string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("the page has no %s", pattern)
		}
		return m[1]
	}
	list := func(text string) (args []string) {
		if err := json.Unmarshal([]byte(text), &args); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		return args
	}
	var o Options
	for _, args := range [][]string{
		strings.Fields(strings.ReplaceAll(find(`ExecStart=\S+ ((?:.*\\\n)*.*)`), "\\\n", "")),
		append(list(find(`ENTRYPOINT (.*)`))[1:], list(find(`args: (.*)`))...),
	} {
		flags := flag.NewFlagSet("authserver", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		o.Register(flags)
		if err := flags.Parse(args); err != nil || flags.NArg() > 0 || o.File == "" || o.MetricsListen == "" {
			t.Errorf("%q: got %v, and the arguments %q", args, err, flags.Args())
		}
	}

	// A fleet's server waits half a minute for the other nodes. A load has its turn within
	// GroupConfig.MaxWait, and ends within Config.LoadTimeout, which are 10 s each.
	const fleetWait, longestLoad = 30 * time.Second, 20 * time.Second
	if shutdownGrace <= longestLoad {
		t.Errorf("requests get %v to end, and a load may take %v", shutdownGrace, longestLoad)
	}
	for _, pattern := range []string{`TimeoutStopSec=(\d+)`, `terminationGracePeriodSeconds: (\d+)`} {
		got, err := time.ParseDuration(find(pattern) + "s")
		if needed := o.ShutdownDelay + fleetWait + shutdownGrace; err != nil || got <= needed {
			t.Errorf("%s: got %v, %v, and the server takes %v", pattern, got, err, needed)
		}
	}
}
