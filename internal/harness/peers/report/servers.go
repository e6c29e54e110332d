package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
	"github.com/svctoken/svctoken/tokencache/tokenhttp"
)

// Allocations are what one request takes.
type allocations struct {
	what            string
	count, bytes    int64
	most, mostBytes int64
}

// A coldStart is a row of command coldstart.
type coldStart struct {
	what         string
	cells        []string
	away, failed float64
}

// starts are the settings of the cold starts.
var starts = []struct {
	what string
	args []string
}{
	{"10^5 tokens of 1 000 accounts, 4 000 clients", []string{"-accounts", "1000", "-hashes", "fast"}},
	{"10^5 tokens of one account, 4 000 clients", []string{"-accounts", "1", "-hashes", "fast"}},
}

func (r *report) measureServers() (err error) {
	r.wrap = []allocations{
		measureWrap("`tokenhttp.Wrap`", tokenhttp.Config{}, 3, 816),
		measureWrap("`tokenhttp.Wrap` with `KeepHeader`", tokenhttp.Config{KeepHeader: true}, 1, 416),
	}
	if r.overHTTP, err = command("./peers/overhttp"); err != nil {
		return err
	}
	for _, s := range starts {
		out, err := command("./enginetest/coldstart", s.args...)
		if err != nil {
			return err
		}
		c, err := parseColdStart(s.what, out)
		if err != nil {
			return err
		}
		r.coldStarts = append(r.coldStarts, c)
	}
	return nil
}

// measureWrap measures a hit.
func measureWrap(what string, cfg tokenhttp.Config, most, mostBytes int64) allocations {
	h := peers.NewHost(peers.HostOptions{Tokens: 1})
	defer h.Group.Close()
	wrapped := tokenhttp.Wrap(h.Group, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), cfg)
	request := httptest.NewRequestWithContext(context.Background(), "GET", "/", nil)
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent", "X-Request-Id"} {
		request.Header.Set(name, "value")
	}
	request.Header.Set("Authorization", h.Headers[0])
	w := httptest.NewRecorder()
	result := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			wrapped.ServeHTTP(w, request)
		}
	})
	return allocations{what, result.AllocsPerOp(), result.AllocedBytesPerOp(), most, mostBytes}
}

// command runs a command of the harness, and returns what it prints.
func command(name string, args ...string) (string, error) {
	cmd := exec.Command("go", append([]string{"run", name}, args...)...)
	cmd.Dir = root + "/internal/harness"
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, errors.String())
	}
	return string(out), nil
}

// parseColdStart reads the one row of the command's table.
func parseColdStart(what, out string) (coldStart, error) {
	_, row, found := strings.Cut(out, "| fast |")
	if !found {
		return coldStart{}, fmt.Errorf("coldstart: no row in %q", out)
	}
	row, _, _ = strings.Cut(row, "\n")
	c := coldStart{what: what}
	for cell := range strings.SplitSeq(strings.TrimSuffix(row, "|"), "|") {
		c.cells = append(c.cells, strings.TrimSpace(cell))
	}
	if len(c.cells) != 6 {
		return coldStart{}, fmt.Errorf("coldstart: %d cells in %q", len(c.cells), row)
	}
	var err error
	if c.away, err = strconv.ParseFloat(c.cells[1], 64); err != nil {
		return coldStart{}, err
	}
	c.failed, err = strconv.ParseFloat(c.cells[2], 64)
	return c, err
}

func (r *report) writeServers(p *page) {
	p.line("\n## Over HTTP\n\n`go run -C internal/harness ./peers/overhttp`\n")
	p.line("Processor time of a server's process for a request of five headers over HTTP/1.1, the best of the rounds in turns. `KeepHeader` saves the")
	p.line("copy of the header, and two of the three allocations of a hit.\n")
	p.WriteString(r.overHTTP)
	p.line("\n## Cold starts\n\n`go run -C internal/harness ./enginetest/coldstart`\n")
	p.line("An SQL index (SQLite) after a restart, with fast hashes. Each client sends its next token when it has an answer.")
	p.table("what", "confirmed", "turned away (503)", "no answer", "longest wait", "time", "processor")
	for _, c := range r.coldStarts {
		p.line("| %s | %s |", c.what, strings.Join(c.cells, " | "))
	}
}
