package server

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

// Options are what the flags set. They say nothing about the index, which comes
// with the program.
type Options struct {
	Listen    string        // address to listen on
	File      string        // service_tokens file; empty: a sample in a temporary folder
	Poll, TTL time.Duration // zero: never, and not at all
	Admin     string        // USER:PASSWORD; empty: random, printed
	Reader    string        // USER:PASSWORD; empty: none
	Accounts  string        // that exist, comma-separated
}

// Register defines the flags, with their defaults.
func (o *Options) Register(flags *flag.FlagSet) {
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:9200", "address to listen on")
	flags.StringVar(&o.File, "service-tokens", "", "service_tokens file (default: a sample in a temporary folder)")
	flags.DurationVar(&o.Poll, "poll", time.Second, "how often to look whether the file has changed; 0: never")
	flags.DurationVar(&o.TTL, "ttl", 20*time.Minute, "how long to remember a token; 0: not at all")
	flags.StringVar(&o.Admin, "admin", "", "USER:PASSWORD of an operator with manage_security (default: random, printed)")
	flags.StringVar(&o.Reader, "reader", "", "USER:PASSWORD of a user who may look, with the privilege monitor (default: none)")
	flags.StringVar(&o.Accounts, "accounts", "elastic/fleet-server,elastic/kibana", "the service accounts that exist, comma-separated; tokens of others are refused")
}

// Main is the main function of a program: it registers the options among its
// flags, parses them, calls run with a context that a signal ends, and exits where
// there is an error.
func Main(program string, o *Options, run func(context.Context) error) {
	o.Register(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s: unexpected argument %q\n", program, flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
		os.Exit(1)
	}
}

// Run serves until the context is done. The index stays the caller's, who closes it
// afterwards, where it needs that.
func Run(ctx context.Context, o Options, index Index) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	users := newUsers()
	generated := o.Admin == ""
	if generated {
		o.Admin = "admin:" + rand.Text()
	}
	if err := users.add(o.Admin, "manage_security"); err != nil {
		return fmt.Errorf("-admin: %w", err)
	}
	if o.Reader != "" {
		if err := users.add(o.Reader, "monitor"); err != nil {
			return fmt.Errorf("-reader: %w", err)
		}
	}
	accounts, err := parseAccounts(o.Accounts)
	if err != nil {
		return fmt.Errorf("-accounts: %w", err)
	}

	sample := o.File == ""
	if sample {
		dir, err := os.MkdirTemp("", "svctoken-authserver-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.File = filepath.Join(dir, "service_tokens")
	}
	file, err := filesource.Open(o.File, filesource.Config{Poll: orNever(o.Poll), Logger: logger})
	if err != nil {
		return err
	}
	defer file.Close()

	s := &server{accounts: accounts, users: users, file: file, index: index, node: node{"authserver", rand.Text()}, logger: logger}
	s.group = tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: s.known})
	defer s.group.Close()
	cfg := tokencache.Config{TTL: orNever(o.TTL)}
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

	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	fmt.Printf("Listening on http://%s\n", listener.Addr())
	fmt.Printf("Tokens in %s\n", o.File)
	if generated {
		fmt.Printf("Operator %s\n", o.Admin)
	}
	if sample {
		if err := printSample(ctx, file, listener.Addr(), o.Admin); err != nil {
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
