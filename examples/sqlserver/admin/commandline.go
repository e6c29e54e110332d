package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A command is one call of the program.
type command struct {
	verb
	storeName, out, by string
	expires            string    // the flag's text
	until              time.Time // what it says; the zero Time: never
	grace, unused      age
	dryRun, json       bool
	wait               string
	limit              int
	timeout            time.Duration

	id      tokencache.TokenID // the argument, if it is a token
	account tokencache.Account // the account of the argument, or the zero Account: all

	stdin  io.Reader
	stdout *os.File
	stderr io.Writer
}

// An argument is what a command needs after its name.
type argument int

const (
	noArgument argument = iota
	aToken
	anAccount
	accountOrNone
	anyOrNone // a token, an account or nothing
)

// String returns the argument as the help shows it.
func (a argument) String() string {
	return [...]string{"", "NAMESPACE/SERVICE/TOKEN", "NAMESPACE/SERVICE", "[NAMESPACE/SERVICE]", "[NAMESPACE/SERVICE[/TOKEN]]"}[a]
}

// A verb is a command's name, with the argument and the flags that it takes.
type verb struct {
	name  string
	takes argument
	flags []string // besides store, by and timeout, which all commands have
	help  string
}

var verbs = []verb{
	{"create", aToken, []string{"out", "expires", "json", "wait"}, "create a token, and show its bearer once"},
	{"rotate", aToken, []string{"out", "grace", "json", "wait"}, "give it a new secret, and show its bearer once; with -grace the old one is good for a while (not in a file)"},
	{"expire", aToken, []string{"expires", "wait"}, "set when it expires, with -expires (not in a file)"},
	{"disable", aToken, []string{"wait"}, "refuse it until it is enabled (not in a file)"},
	{"enable", aToken, []string{"wait"}, "accept it again (not in a file)"},
	{"delete", aToken, []string{"wait"}, "delete it"},
	{"revoke", anAccount, []string{"dry-run", "json", "wait"}, "delete all tokens of the account, in one transaction (not in a file)"},
	{"disable-unused", accountOrNone, []string{"unused", "dry-run", "json", "wait"}, "disable what nobody has used for the time of -unused (not in a file)"},
	{"list", accountOrNone, []string{"unused", "json"}, "list tokens; with -unused only those that nobody has used for that time"},
	{"whois", noArgument, []string{"json"}, "say whose bearer, or beginning of one, stands on standard input"},
	{"history", anyOrNone, []string{"json", "limit"}, "list who did what and when, deletions too, the newest first (not in a file)"},
	{"migrate", noArgument, nil, "create the tables of an SQL index, or bring them up to date"},
	{"migrations", noArgument, nil, "print the statements that migrate runs"},
}

// parse parses a command line, which may have flags anywhere.
func parse(args []string) (*command, error) {
	c := &command{}
	flags := c.flagSet()
	var words, given []string
	for {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return c, err
			}
			return c, fmt.Errorf("%w%w", err, errUsage)
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	flags.Visit(func(f *flag.Flag) { given = append(given, f.Name) })
	if len(words) == 0 {
		return c, fmt.Errorf("a command is needed%w", errUsage)
	}
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == words[0] })
	if i < 0 {
		return c, fmt.Errorf("unknown command %q%w", words[0], errUsage)
	}
	c.verb = verbs[i]
	if err := c.check(given, words[1:]); err != nil {
		return c, fmt.Errorf("%s: %w%w", c.name, err, errUsage)
	}
	return c, nil
}

func (c *command) flagSet() *flag.FlagSet {
	flags := flag.NewFlagSet("admin", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // parse's caller shows the error
	flags.StringVar(&c.storeName, "store", "", "`file:PATH`, sqlite:PATH or postgres://USER@HOST/DATABASE (the password from PGPASSWORD or a .pgpass file)")
	flags.StringVar(&c.out, "out", "", "write the bearer of create and rotate to this new `file`, of mode 0600")
	flags.StringVar(&c.by, "by", currentUser(), "`who` does it, as an SQL index notes it")
	flags.StringVar(&c.by, "creator", currentUser(), "the same as -by")
	flags.StringVar(&c.expires, "expires", "", "`when` the token expires: an age (90d, 12h), a date (2030-01-31, or with a time as 2030-01-31T12:00:00Z), or never")
	flags.Var(&c.grace, "grace", "for how long the old secret stays good (`time`, as 1h or 7d); 0: it is refused at once")
	flags.Var(&c.unused, "unused", "tokens that nobody has used for this `time`, as 90d; one that was never used counts from its creation")
	flags.BoolVar(&c.dryRun, "dry-run", false, "change nothing, and print what would be changed")
	flags.BoolVar(&c.json, "json", false, "print JSON, one object a line")
	flags.IntVar(&c.limit, "limit", 100, "how `many` lines of the history")
	flags.StringVar(&c.wait, "wait", "", "wait until these servers have applied the change: `URLs` of their /_stats or /metrics, with commas (credentials from SVCTOKEN_WAIT, as USER:PASSWORD)")
	flags.DurationVar(&c.timeout, "timeout", 30*time.Second, "how long to try")
	return flags
}

// check checks the flags and arguments of the command.
func (c *command) check(given, args []string) error {
	for _, name := range given {
		if !slices.Contains(append(c.flags, "store", "by", "creator", "timeout"), name) {
			return fmt.Errorf("it has no flag -%s", name)
		}
	}
	if c.storeName == "" {
		return errors.New("-store is missing: file:PATH, sqlite:PATH or postgres://USER@HOST/DATABASE")
	}
	if err := c.checkFlags(); err != nil {
		return err
	}
	if strings.HasPrefix(c.storeName, "file:") {
		if err := c.checkFile(); err != nil {
			return err
		}
	}
	return c.checkArguments(args)
}

// checkFlags checks the flags' values before anything is done.
func (c *command) checkFlags() (err error) {
	switch {
	case c.name == "expire" && c.expires == "":
		return errors.New("-expires is missing: an age, a date or never")
	case c.name == "disable-unused" && c.unused == 0:
		return errors.New("-unused is missing, 90d for example")
	case c.grace < 0 || c.unused < 0:
		return errors.New("a time is negative")
	case c.timeout <= 0:
		return errors.New("-timeout must be more than 0")
	case c.limit < 1:
		return errors.New("-limit must be 1 or more")
	case isBearer(c.by):
		return errors.New("-by is a name, not a bearer")
	}
	if c.until, err = expiry(c.expires, time.Now()); err != nil || c.wait == "" {
		return err
	}
	for text := range strings.SplitSeq(c.wait, ",") {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return errors.New("-wait must be URLs such as http://node1:9200/_stats, with commas between them")
		}
	}
	return nil
}

// isBearer reports whether a text begins as every bearer does, and as no name may.
func isBearer(text string) bool { return strings.HasPrefix(text, "AAEAA") }

// checkFile refuses what a file cannot do: a file has only the id and the hash of a
// token.
func (c *command) checkFile() error {
	switch {
	case !slices.Contains([]string{"create", "rotate", "delete", "list", "whois"}, c.name):
		return errors.New("that is for an SQL index: in a file a token can be created, rotated, deleted, listed and looked up")
	case c.expires != "" || c.grace > 0 || c.unused > 0 || c.wait != "":
		return errors.New("a file keeps no times and no revisions: -expires, -grace, -unused and -wait are for an SQL index")
	default:
		return nil
	}
}

func (c *command) checkArguments(args []string) (err error) {
	switch {
	case slices.ContainsFunc(args, isBearer):
		return errors.New("that is a bearer, or the beginning of one: the command whois reads it from standard input")
	case len(args) > 1 || len(args) == 1 && c.takes == noArgument:
		return fmt.Errorf("too many arguments: %d", len(args))
	case len(args) == 0 && (c.takes == aToken || c.takes == anAccount):
		return fmt.Errorf("it needs %v", c.takes)
	case len(args) == 0:
		return nil
	}
	if c.takes == aToken || c.takes == anyOrNone && strings.Count(args[0], "/") > 1 {
		c.id, err = tokencache.ParseTokenID(args[0])
		c.account = c.id.Account
		return err
	}
	c.account.Namespace, c.account.Service, _ = strings.Cut(args[0], "/")
	return c.account.Validate()
}

func help(w io.Writer) {
	fmt.Fprint(w, "Administers service account tokens in a service_tokens file or an SQL index.\n\nusage: admin -store STORE COMMAND [ARGUMENT] [flags]\n\ncommands:\n")
	for _, v := range verbs {
		fmt.Fprintf(w, "  %-44s %s\n", strings.TrimSpace(v.name+" "+v.takes.String()), v.help)
	}
	fmt.Fprint(w, "\nflags:\n")
	flags := new(command).flagSet()
	flags.SetOutput(w)
	flags.PrintDefaults()
	fmt.Fprint(w, "\nexit status: 0 done, 1 failed, 2 wrong command line, 3 no such token, 4 it exists already\n")
}

func currentUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "admin"
}
