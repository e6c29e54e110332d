package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// Options are what the flags set. They say nothing about the index, which comes
// with the program.
type Options struct {
	Listen          string        // address to listen on
	File            string        // service_tokens file; empty: a sample in a temporary folder
	Poll, TTL       time.Duration // zero: never, and not at all
	Admin           string        // USER:PASSWORD, or @ and the path of a file that holds it; empty: as the environment says, else random, printed
	Reader          string        // likewise; empty: as the environment says, else none
	Accounts        string        // known accounts, comma-separated
	TLSCert, TLSKey string        // PEM files; both or none
	SelfSigned      bool          // TLS with a certificate made at the start
	Version         string        // of Elasticsearch, as GET / names it; empty: 9.5.2
	Name            string        // of this node; empty: authserver
	TLSDir          string        // with SelfSigned: folder in which the authority stays; empty: it is forgotten
	TLSNames        string        // with SelfSigned: more names and addresses of the server, comma-separated
	MetricsListen   string        // address for /metrics; empty: none
	MaxHashing      int           // password hashes at once; zero: as tokencache.GroupConfig says
	MaxConnections  int           // at once; zero: by the memory that there is, at most 16384
	ShutdownDelay   time.Duration // how long the health reports the end of the server before it ends, if somebody asks for the health

	HealthWithoutIndex bool // whether the server is ready although its index cannot be asked

	TrustedProxies string // addresses and networks, comma-separated, whose X-Forwarded-For is believed
	TrustedOrigins string // of pages, comma-separated, that may send requests besides the server's own

	// No flag sets these.
	MaxWait time.Duration    // how long a request waits for other nodes; zero: 30 s
	Out     io.Writer        // for the server's messages at the start; nil: standard output
	Log     io.Writer        // nil: standard error
	Ready   func(url string) // called once the server listens; nil: it is not
	hup     <-chan os.Signal // on which the server reads its files again; nil: never
}

// defaultVersion is that of the API which the server was last compared with.
const defaultVersion = "9.5.2"

// The environment variables that are read if a flag is not set.
const (
	adminVariable  = "AUTHSERVER_ADMIN"
	readerVariable = "AUTHSERVER_READER"
)

// Register defines the flags, with their defaults.
func (o *Options) Register(flags *flag.FlagSet) {
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:9200", "address to listen on")
	flags.StringVar(&o.File, "service-tokens", "", "service_tokens file (default: a sample in a temporary folder)")
	flags.DurationVar(&o.Poll, "poll", time.Second, "how often to look whether the file has changed; 0: never")
	flags.DurationVar(&o.TTL, "ttl", 20*time.Minute, "how long to remember a token; 0: not at all")
	flags.StringVar(&o.Admin, "admin", "", "USER:PASSWORD of an operator who may do everything, or @FILE that holds it (default: $"+adminVariable+", or random, printed)")
	flags.StringVar(&o.Reader, "reader", "", "USER:PASSWORD of a user who may look, with the privilege monitor, or @FILE that holds it (default: $"+readerVariable+", or none)")
	flags.StringVar(&o.Accounts, "accounts", "elastic/fleet-server,elastic/kibana,elastic/fleet-server-remote,elastic/auto-ops", "the service accounts that exist, comma-separated; tokens of others are refused")
	flags.StringVar(&o.TLSCert, "tls-cert", "", "file with the server's certificates, PEM (default: no TLS)")
	flags.StringVar(&o.TLSKey, "tls-key", "", "file with the key of -tls-cert, PEM")
	flags.StringVar(&o.Version, "es-version", defaultVersion, "the version of Elasticsearch that GET / names; a client such as fleet-server wants one that is not older than its own")
	flags.StringVar(&o.Name, "name", "authserver", "what answers, reports and the page call this node")
	flags.StringVar(&o.TLSDir, "tls-dir", "", "with -tls-self-signed: folder in which the certificate authority stays, so that its fingerprint does too (default: a new one at each start)")
	flags.StringVar(&o.TLSNames, "tls-names", "", "with -tls-self-signed: more names and addresses of the server, comma-separated")
	flags.StringVar(&o.MetricsListen, "metrics-listen", "", "address on which to serve /metrics, for Prometheus, and /_health, without TLS and credentials (default: none)")
	flags.IntVar(&o.MaxHashing, "max-hashing", 0, "how many password hashes may be computed at once (default: as package tokencache recommends)")
	flags.IntVar(&o.MaxConnections, "max-connections", 0, "how many connections there may be at once (default: by the memory that the process may use, at most 16384)")
	flags.DurationVar(&o.ShutdownDelay, "shutdown-delay", 5*time.Second, "how long /_health says that the server ends before it stops to listen, if somebody has asked for it in the last minute")
	flags.BoolVar(&o.HealthWithoutIndex, "health-without-index", false, "be ready although the index cannot be asked: an outage of an index that all servers share would take every one of them away")
	flags.StringVar(&o.TrustedProxies, "trusted-proxies", "", "addresses and networks, comma-separated, of the proxies whose X-Forwarded-For says where a request comes from (default: none)")
	flags.StringVar(&o.TrustedOrigins, "trusted-origins", "", "origins such as https://auth.example, comma-separated, under which a proxy shows the page without passing on the header Host (default: none)")
	flags.BoolVar(&o.SelfSigned, "tls-self-signed", false, "make a certificate authority and a certificate at the start, and print the authority's fingerprint")
}

// Main is the main function of a program: it registers the options among its
// flags, parses them, calls run with a context that a signal ends, and exits if there
// is an error.
func Main(program string, o *Options, run func(context.Context) error) {
	o.Register(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s: unexpected argument %q\n", program, flag.Arg(0))
		os.Exit(2)
	}
	if err := notNegative(flag.CommandLine); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	o.hup = hup
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
		os.Exit(1)
	}
}

// notNegative refuses negative durations and counts. To the library they mean "off" or
// "without a limit"; flags have other words for that.
func notNegative(flags *flag.FlagSet) (err error) {
	flags.VisitAll(func(f *flag.Flag) {
		getter, ok := f.Value.(flag.Getter)
		if !ok {
			return
		}
		duration, isDuration := getter.Get().(time.Duration)
		count, isCount := getter.Get().(int)
		if isDuration && duration < 0 || isCount && count < 0 {
			err = cmp.Or(err, fmt.Errorf("-%s %s: it must not be negative", f.Name, f.Value))
		}
	})
	return err
}

// Operator returns the credentials of the operator with all privileges, as they are
// given: USER:PASSWORD, or nothing.
func (o Options) Operator() (string, error) {
	text, err := credentials(o.Admin, adminVariable)
	if err != nil {
		return "", fmt.Errorf("-admin: %w", err)
	}
	return text, nil
}

// users returns the operators, and the credentials of the first one if they were
// generated here.
func (o Options) users() (u users, generated string, err error) {
	admin, err := o.Operator()
	if err != nil {
		return users{}, "", err
	}
	if admin == "" {
		generated = "admin:" + rand.Text()
	}
	if err := u.add(cmp.Or(admin, generated), "all"); err != nil {
		return users{}, "", fmt.Errorf("-admin: %w", err)
	}
	reader, err := credentials(o.Reader, readerVariable)
	if err == nil && reader != "" {
		err = u.add(reader, "monitor")
	}
	if err != nil {
		return users{}, "", fmt.Errorf("-reader: %w", err)
	}
	return u, generated, nil
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

// orNever maps a flag's zero to the library's value for never.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
