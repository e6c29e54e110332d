// Command authserver is an auth server for service accounts, with tokens in a
// service_tokens file and in an index in memory. It speaks the requests of
// Elasticsearch's service account tokens, and shows a page to operators.
//
//	go run ./examples/authserver
//
// Without -service-tokens it makes a sample file in a temporary folder, and prints
// a token and the requests to try.
//
// To read it from the top: main.go puts the library's parts together, server.go has
// the routes, users.go the operators, wire.go the form of the answers, page.go and
// journal.go the page.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

type options struct {
	listen, file  string
	poll, ttl     time.Duration
	admin, reader string
	accounts      string
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:9200", "address to listen on")
	flag.StringVar(&o.file, "service-tokens", "", "service_tokens file (default: a sample in a temporary folder)")
	flag.DurationVar(&o.poll, "poll", time.Second, "how often to look whether the file has changed; 0: never")
	flag.DurationVar(&o.ttl, "ttl", 20*time.Minute, "how long to remember a token; 0: not at all")
	flag.StringVar(&o.admin, "admin", "", "USER:PASSWORD of an operator with manage_security (default: random, printed)")
	flag.StringVar(&o.reader, "reader", "", "USER:PASSWORD of a user who may look, with the privilege monitor (default: none)")
	flag.StringVar(&o.accounts, "accounts", "elastic/fleet-server,elastic/kibana", "the service accounts that exist, comma-separated; tokens of others are refused")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "authserver: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "authserver: %v\n", err)
		os.Exit(1)
	}
}

// run serves until the context is done.
func run(ctx context.Context, o options) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	users := newUsers()
	generated := o.admin == ""
	if generated {
		o.admin = "admin:" + rand.Text()
	}
	if err := users.add(o.admin, "manage_security"); err != nil {
		return fmt.Errorf("-admin: %w", err)
	}
	if o.reader != "" {
		if err := users.add(o.reader, "monitor"); err != nil {
			return fmt.Errorf("-reader: %w", err)
		}
	}
	accounts, err := parseAccounts(o.accounts)
	if err != nil {
		return fmt.Errorf("-accounts: %w", err)
	}

	sample := o.file == ""
	if sample {
		dir, err := os.MkdirTemp("", "svctoken-authserver-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.file = filepath.Join(dir, "service_tokens")
	}
	file, err := filesource.Open(o.file, filesource.Config{Poll: orNever(o.poll), Logger: logger})
	if err != nil {
		return err
	}
	defer file.Close()
	index := new(indexsource.Memory)
	index.SetState(indexsource.State{Health: indexsource.HealthGreen, UUID: rand.Text(), UpToDate: true})

	s := &server{accounts: accounts, users: users, file: file, index: index, node: node{"authserver", rand.Text()}, logger: logger}
	s.group = tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: s.known})
	defer s.group.Close()
	cfg := tokencache.Config{TTL: orNever(o.ttl)}
	if s.fileCache, err = tokencache.New(s.group, "file", file, cfg); err != nil {
		return err
	}
	source := indexsource.New(index)
	if s.indexCache, err = tokencache.New(s.group, "index", source, cfg); err != nil {
		return err
	}
	s.indexState = source.State
	s.evictor = evict.New(s.group)
	for _, id := range file.List() {
		if !s.known(id.Account) {
			logger.Warn("a token of an account that is not among -accounts will be refused", "token", id.String())
		}
	}

	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	fmt.Printf("Listening on http://%s\n", listener.Addr())
	fmt.Printf("Tokens in %s\n", o.file)
	if generated {
		fmt.Printf("Operator %s\n", o.admin)
	}
	if sample {
		if err := printSample(ctx, file, listener.Addr(), o.admin); err != nil {
			return err
		}
	}
	return serve(ctx, listener, s.handler())
}

// parseAccounts reads a comma-separated list of accounts.
func parseAccounts(list string) ([]tokencache.Account, error) {
	var accounts []tokencache.Account
	for text := range strings.SplitSeq(list, ",") {
		namespace, service, _ := strings.Cut(text, "/")
		account := tokencache.Account{Namespace: namespace, Service: service}
		if err := account.Validate(); err != nil {
			return nil, err
		}
		accounts = append(accounts, account)
	}
	return accounts, nil
}

// orNever maps the zero of a flag to what the library calls never.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// printSample creates tokens in the file, and prints what to do with them.
func printSample(ctx context.Context, file *filesource.File, addr net.Addr, admin string) error {
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	var bearer string
	for _, name := range []string{"token2", "token1"} {
		token, err := file.Create(ctx, account.TokenID(name))
		if err != nil {
			return err
		}
		bearer = token.RevealBearer()
	}
	route := fmt.Sprintf("http://%s/_security/service/elastic/fleet-server/credential/token", addr)
	fmt.Printf(`
A token that works: %[1]s

Authenticate with it, twice; the second answer comes from memory:
  curl -H "Authorization: Bearer %[1]s" http://%[2]s/_security/_authenticate
Clear one token, two, or all tokens of the account, from both caches at one instant:
  curl -u %[3]s -X POST "%[4]s/token1/_clear_cache"
  curl -u %[3]s -X POST "%[4]s/token1,token2/_clear_cache"
  curl -u %[3]s -X POST "%[4]s/*/_clear_cache"
Create a token in the index, and delete it:
  curl -u %[3]s -X POST "%[4]s/token3"
  curl -u %[3]s -X DELETE "%[4]s/token3"
See what the caches do, in a browser, as %[3]s, or as JSON:
  http://%[2]s/
  curl -u %[3]s http://%[2]s/_stats
`, bearer, addr, shellQuote(admin), route)
	return nil
}

// shellQuote quotes what a shell would take apart.
func shellQuote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-.") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// serve serves until the context is done, and then lets the requests finish.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return err
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
