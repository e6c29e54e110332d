// Command admin administers service account tokens: in a service_tokens file, or in an
// SQL index, while servers use it.
//
//	go -C examples/sqlserver run ./admin -store sqlite:/var/tmp/tokens.db create elastic/fleet-server/token1
//
// Run it with -h for its commands and flags. Flags may stand before and after the command.
//
// The store is file:PATH, sqlite:PATH or a postgres:// URL. A bearer goes to the terminal,
// or to a new file of mode 0600 with -out; if standard output is neither, create and
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
	"regexp"
	"syscall"

	"github.com/svctoken/svctoken/tokencache"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
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

// bearers matches bearers, which no message repeats, wherever somebody has pasted one.
var bearers = regexp.MustCompile(`AAEAA[\w+/=-]*`)

// run returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout *os.File, stderr io.Writer) int {
	c, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		help(stdout)
		return done
	}
	c.stdin, c.stdout, c.stderr = stdin, stdout, stderr
	if err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
		err = c.run(ctx)
	}
	if err != nil {
		fmt.Fprintf(stderr, "admin: %s\n", bearers.ReplaceAllString(err.Error(), "AAEAA[...]"))
	}
	switch {
	case err == nil:
		return done
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, usage)
		return misused
	case errors.Is(err, tokencache.ErrNotFound):
		return absent
	case errors.Is(err, tokencache.ErrExists):
		return conflict
	default:
		return failed
	}
}

const usage = "usage: admin -store STORE COMMAND [ARGUMENT] [flags]; admin -h lists the commands and flags"
