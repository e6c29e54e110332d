// Command admin administers service account tokens: in a service_tokens file, or in an
// SQL index, while servers use it.
//
//	go -C examples/sqlserver run ./admin -store sqlite:/var/tmp/tokens.db create elastic/fleet-server/token1
//
//	create NAMESPACE/SERVICE/TOKEN    create a token, and show its bearer once
//	rotate NAMESPACE/SERVICE/TOKEN    give it a new secret, and show its bearer once
//	disable NAMESPACE/SERVICE/TOKEN   refuse it until it is enabled (not in a file)
//	enable NAMESPACE/SERVICE/TOKEN    accept it again (not in a file)
//	delete NAMESPACE/SERVICE/TOKEN    delete it
//	list [NAMESPACE/SERVICE]          list tokens: id, enabled or disabled, when and by whom created
//	migrate                           create the tables of an SQL index, or bring them up to date
//	migrations                        print the statements that migrate runs
//
// The store is file:PATH, sqlite:PATH or a postgres:// URL. A bearer goes to the terminal,
// or to a new file of mode 0600 with -out; where standard output is neither, create and
// rotate refuse before they change anything.
//
// The exit status is 0 when it is done, 1 when it failed (the message says whether the
// change may be in force), 2 for a wrong command line, 3 when there is no such token, and
// 4 when the token exists already.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"strings"
	"syscall"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit statuses.
const (
	done = iota
	failed
	misused
	absent
	conflict
)

// errUsage is wrapped by the errors of a wrong command line.
var errUsage = errors.New("")

// A command is one call of the program.
type command struct {
	storeName, out string
	creator        string
	timeout        time.Duration
	verb           string
	args           []string
	id             tokencache.TokenID // of args, as account is
	account        tokencache.Account
	stdout         *os.File
	stderr         io.Writer
}

// run returns the exit status.
func run(ctx context.Context, args []string, stdout *os.File, stderr io.Writer) int {
	c := command{stdout: stdout, stderr: stderr}
	flags := flag.NewFlagSet("admin", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: admin -store STORE [flags] create|rotate|disable|enable|delete|list|migrate|migrations [TOKEN or ACCOUNT]")
		flags.PrintDefaults()
	}
	flags.StringVar(&c.storeName, "store", "", "file:PATH, sqlite:PATH or postgres://USER@HOST/DATABASE (the password from PGPASSWORD or a .pgpass file)")
	flags.StringVar(&c.out, "out", "", "write the bearer of create and rotate to this new file, of mode 0600")
	flags.StringVar(&c.creator, "creator", currentUser(), "who creates, as an SQL index notes it")
	flags.DurationVar(&c.timeout, "timeout", 30*time.Second, "how long to try")
	if err := flags.Parse(args); err != nil {
		return misused
	}
	if flags.NArg() > 0 {
		c.verb, c.args = flags.Arg(0), flags.Args()[1:]
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := c.run(ctx)
	switch {
	case err == nil:
		return done
	case errors.Is(err, errUsage):
		flags.Usage()
		fmt.Fprintf(stderr, "admin: %v\n", err)
		return misused
	case errors.Is(err, errAbsent), errors.Is(err, tokencache.ErrNotFound):
		fmt.Fprintf(stderr, "admin: %v\n", err)
		return absent
	case errors.Is(err, tokencache.ErrExists):
		fmt.Fprintf(stderr, "admin: %v\n", err)
		return conflict
	default:
		fmt.Fprintf(stderr, "admin: %v\n", err)
		return failed
	}
}

func currentUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "admin"
}

func (c *command) run(ctx context.Context) error {
	if c.storeName == "" || c.verb == "" {
		return fmt.Errorf("a store and a command are needed%w", errUsage)
	}
	if c.verb == "migrations" {
		return printMigrations(c.stdout, c.storeName)
	}
	if err := c.parse(); err != nil {
		return err
	}
	s, err := openStore(ctx, c.storeName, c.verb)
	if err != nil {
		return err
	}
	defer s.Close()
	switch c.verb {
	case "list":
		if file, ok := s.(fileStore); ok {
			for _, line := range file.warnings() { // which the list lacks
				fmt.Fprintf(c.stderr, "admin: %s\n", line)
			}
		}
		return s.list(ctx, c.account, func(line ...string) error {
			_, err := fmt.Fprintln(c.stdout, strings.Join(line, "\t")) // a line for each token
			return err
		})
	case "migrate":
		return s.migrate(ctx)
	case "create":
		return c.reveal(func() (tokencache.Token, error) { return s.create(ctx, c.id, c.creator) })
	case "rotate":
		return c.reveal(func() (tokencache.Token, error) { return s.rotate(ctx, c.id) })
	case "delete":
		return s.remove(ctx, c.id)
	default:
		return s.setEnabled(ctx, c.id, c.verb == "enable")
	}
}

// parse checks the command and its arguments, before the store is opened.
func (c *command) parse() (err error) {
	switch c.verb {
	case "migrate":
		if len(c.args) > 0 {
			return fmt.Errorf("migrate needs no argument%w", errUsage)
		}
		return nil
	case "list":
		return c.parseAccount()
	case "create", "rotate", "disable", "enable", "delete":
	default:
		return fmt.Errorf("unknown command %q%w", c.verb, errUsage)
	}
	if len(c.args) != 1 {
		return fmt.Errorf("%s needs one token, as NAMESPACE/SERVICE/TOKEN%w", c.verb, errUsage)
	}
	if c.id, err = tokencache.ParseTokenID(c.args[0]); err != nil {
		return fmt.Errorf("%w%w", err, errUsage)
	}
	return nil
}

// parseAccount reads the account of list, which may be missing.
func (c *command) parseAccount() error {
	if len(c.args) == 0 {
		return nil
	}
	if len(c.args) > 1 {
		return fmt.Errorf("list needs one account at most%w", errUsage)
	}
	c.account.Namespace, c.account.Service, _ = strings.Cut(c.args[0], "/")
	if err := c.account.Validate(); err != nil {
		return fmt.Errorf("%w%w", err, errUsage)
	}
	return nil
}
