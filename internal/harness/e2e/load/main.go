// Command load measures how many requests a second examples/authserver
// authenticates over loopback connections that are kept alive, with caching and
// without, for expensive and for cheap hashes, and writes docs/load.md.
//
//	go run -C internal/harness/e2e ./load
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/svctoken/svctoken/internal/harness/e2e"
)

var (
	root        = flag.String("root", "../../..", "the repository's root")
	out         = flag.String("out", "../../../docs/load.md", "the page to write; empty: none")
	duration    = flag.Duration("duration", 5*time.Second, "how long to send requests, for each row; at most a minute")
	connections = flag.Int("connections", 8, "how many connections send requests; at most 64")
	tokens      = flag.Int("tokens", 100, "how many tokens there are; at most 1000")
)

func main() {
	flag.Parse()
	if *duration <= 0 || *duration > time.Minute || *connections < 1 || *connections > 64 || *tokens < 1 || *tokens > 1000 {
		fmt.Fprintln(os.Stderr, "load: a flag is out of its bounds; see -help")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	var rows []result
	for _, from := range []source{file, index} {
		for _, ttl := range []string{"20m", "0"} {
			row, err := measure(ttl, from)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
	}
	var page bytes.Buffer
	err := template.Must(template.New("page").Parse(pageText)).Execute(&page, map[string]any{
		"Go": runtime.Version(), "OS": runtime.GOOS, "Arch": runtime.GOARCH, "Cores": runtime.NumCPU(),
		"Connections": *connections, "Tokens": *tokens, "Duration": *duration,
		"Rows": rows, "Ratio": fmt.Sprintf("%.0f", rows[0].rate/rows[1].rate),
	})
	if err != nil {
		return err
	}
	fmt.Print(page.String())
	if *out == "" {
		return nil
	}
	return os.WriteFile(*out, page.Bytes(), 0o666)
}

const pageText = "# Load\n" + `
Written by ` + "`go run -C internal/harness/e2e ./load`" + `: examples/authserver answers ` + "`GET /_security/_authenticate`" + ` over {{.Connections}}
loopback connections that are kept alive, for {{.Tokens}} tokens. Those of the file have the hash that Elasticsearch writes, PBKDF2 of 10 000
iterations; those of the index, which is in memory, have the salted SHA-256 that svctoken writes for the secrets that it generates.
Client and server share the machine's {{.Cores}} cores, so the figures are low, and all rows but the second are mostly the cost of HTTP.
Compare the figures of one run with each other. This run: {{.Go}}, {{.OS}}/{{.Arch}}, {{.Duration}} for each row.

| tokens of | ` + "`-ttl`" + ` | requests a second | median | 99th percentile |
| --- | --- | --- | --- | --- |
{{range .Rows}}| the {{.From}} | {{.TTL}}{{if eq .TTL "0"}}: no caching{{end}} | {{.Rate}} | {{.Median}} | {{.P99}} |
{{end}}
For the file's tokens, caching answers **{{.Ratio}} times** as many requests. For those of an index in memory a hit saves little:
its hash is as cheap as a hit. What caching saves there is the read, of a database for example.
`

// A result has one server's figures.
type result struct {
	From source
	TTL  string

	rate  float64 // requests a second
	times []time.Duration
}

func (r result) Rate() string          { return fmt.Sprintf("%.0f", r.rate) }
func (r result) Median() time.Duration { return r.quantile(0.5) }
func (r result) P99() time.Duration    { return r.quantile(0.99) }
func (r result) quantile(q float64) time.Duration {
	return r.times[int(q*float64(len(r.times)-1))].Round(time.Microsecond)
}

// A source has the tokens of a measured server.
type source string

const (
	file  source = "file"  // with the hash that Elasticsearch writes, which is expensive
	index source = "index" // with the hash of a generated secret, which is cheap
)

// The secret and the hash of each token in the file.
const (
	secret = "supersecret"
	hash   = "{PBKDF2_STRETCH}10000$ZV6l62O9e+C9xP1ADthcttb3vIZVVefpK9bMMyN55O0=$EWxWxecQD4h8oOkTICuAumwI30ENeoCZgvZ317tn2k4="
)

// writeFile makes a service_tokens file.
func writeFile(path string) error {
	var text bytes.Buffer
	for i := range *tokens {
		fmt.Fprintf(&text, "elastic/fleet-server/load%d:%s\n", i, hash)
	}
	return os.WriteFile(path, text.Bytes(), 0o600)
}

// bearer returns the bearer of a token, which it creates unless the file has it.
func (s source) bearer(server *e2e.Authserver, name string) (string, error) {
	if s == file {
		return base64.StdEncoding.EncodeToString([]byte("\x00\x01\x00\x01elastic/fleet-server/" + name + ":" + secret)), nil
	}
	return server.CreateToken("elastic", "fleet-server", name)
}

// measure sends requests to a server with this -ttl.
func measure(ttl string, from source) (result, error) {
	args := []string{"-ttl", ttl}
	if from == file {
		dir, err := os.MkdirTemp("", "load")
		if err != nil {
			return result{}, err
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "service_tokens")
		if err := writeFile(path); err != nil {
			return result{}, err
		}
		args = append(args, "-service-tokens", path)
	}
	builder := e2e.Builder{Root: *root}
	defer builder.Close()
	server, err := builder.Start(args...)
	if err != nil {
		return result{}, err
	}
	defer server.Stop()
	host := strings.TrimPrefix(server.URL, "http://")
	requests := make([][]byte, *tokens)
	for i := range requests {
		bearer, err := from.bearer(server, fmt.Sprintf("load%d", i))
		if err != nil {
			return result{}, err
		}
		requests[i] = fmt.Appendf(nil, "GET /_security/_authenticate HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", host, bearer)
	}
	if _, err := send(host, requests, func(i int) bool { return i < len(requests) }); err != nil { // warms the cache
		return result{}, err
	}

	type part struct {
		times []time.Duration
		err   error
	}
	parts := make(chan part, *connections)
	began := time.Now()
	for c := range *connections {
		mine := slices.Concat(requests[c%len(requests):], requests[:c%len(requests)])
		go func() {
			times, err := send(host, mine, func(int) bool { return time.Since(began) < *duration })
			parts <- part{times, err}
		}()
	}
	r := result{From: from, TTL: ttl}
	var errs []error
	for range *connections {
		p := <-parts
		r.times, errs = append(r.times, p.times...), append(errs, p.err)
	}
	r.rate = float64(len(r.times)) / time.Since(began).Seconds()
	slices.Sort(r.times)
	return r, errors.Join(errs...)
}

// send sends the requests over one connection, one after the other and again from
// the first, while the condition holds, and returns how long each took. An answer
// other than 200 is an error.
func send(host string, requests [][]byte, while func(i int) bool) (times []time.Duration, err error) {
	conn, err := net.Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for i := 0; while(i); i++ {
		began := time.Now()
		if _, err := conn.Write(requests[i%len(requests)]); err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("got %s", resp.Status)
		}
		times = append(times, time.Since(began))
	}
	return times, nil
}
