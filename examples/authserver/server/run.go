package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
)

// Run serves until the context is done. The caller closes the index afterwards, if it
// needs that.
//
// An index that other servers share may have a method
//
//	Evictor(*tokencache.Group) evict.Evictor
//
// whose evictor reaches those servers too. Otherwise evictions hold on this server alone.
func Run(ctx context.Context, o Options, index Index) error {
	return run(ctx, o, func(s *server) error {
		s.index, s.evictor = index, evict.New(s.group)
		if shared, ok := index.(sharedIndex); ok {
			s.evictor = shared.Evictor(s.group)
		}
		return nil
	})
}

// A sharedIndex passes evictions on to the other servers that use it.
type sharedIndex interface {
	Evictor(*tokencache.Group) evict.Evictor
}

// run serves with the index and the evictor that connect sets.
func run(ctx context.Context, o Options, connect func(*server) error) error {
	o.Name, o.MaxWait = cmp.Or(o.Name, "authserver"), cmp.Or(o.MaxWait, 30*time.Second)
	out := cmp.Or[io.Writer](o.Out, os.Stdout)
	s := &server{started: time.Now(), node: node{o.Name, rand.Text()}, version: cmp.Or(o.Version, defaultVersion), maxWait: o.MaxWait, logger: slog.New(slog.NewTextHandler(cmp.Or[io.Writer](o.Log, os.Stderr), nil))}
	var generated string
	var err error
	if s.users, generated, err = o.users(); err != nil {
		return err
	}
	if s.accounts, err = parseAccounts(o.Accounts); err != nil {
		return fmt.Errorf("-accounts: %w", err)
	}
	if s.proxies, err = parseProxies(o.TrustedProxies); err != nil {
		return fmt.Errorf("-trusted-proxies: %w", err)
	}
	if s.origins, err = parseOrigins(o.TrustedOrigins); err != nil {
		return fmt.Errorf("-trusted-origins: %w", err)
	}
	dir, err := o.tempDir()
	if err != nil {
		return err
	}
	if dir != "" {
		defer os.RemoveAll(dir)
	}
	sample := "" // the bearer of one of its tokens
	if o.File == "" {
		o.File = filepath.Join(dir, "service_tokens")
		if sample, err = writeSample(o.File); err != nil {
			return err
		}
	}
	if s.file, err = filesource.Open(o.File, filesource.Config{Poll: orNever(o.Poll), Logger: s.logger}); err != nil {
		return err
	}
	defer s.file.Close()
	s.operation.log, s.metrics = tokenlog.New(tokenlog.Config{Logger: s.logger}), tokenmetrics.New(tokenmetrics.Config{})
	s.group = tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: s.known, MaxHashing: o.MaxHashing, Observer: s.observe})
	defer s.group.Close()
	if err := connect(s); err != nil {
		return err
	}
	if s.fleet != nil {
		defer s.fleet.Close()
	}
	if err := s.open(tokencache.Config{TTL: orNever(o.TTL)}); err != nil {
		return err
	}
	if store, ok := s.index.(indexsource.UseStore); ok {
		defer indexsource.KeepUses(store, s.indexCache.Used, s.logger)()
	}

	s.watchAll(o.HealthWithoutIndex)
	listener, err := o.listen(dir, s.logger)
	if err != nil {
		return err
	}
	listener.announce(out, s.file, o.File, generated)
	if o.MetricsListen != "" {
		url, stop, err := s.serveMetrics(o.MetricsListen)
		if err != nil {
			return fmt.Errorf("-metrics-listen: %w", err)
		}
		defer stop()
		fmt.Fprintf(out, "Metrics on %s/metrics\n", url)
	}
	if sample != "" {
		if err := s.printSample(ctx, out, listener, sample, generated); err != nil {
			return err
		}
	}
	if o.Ready != nil {
		o.Ready(listener.url())
	}
	return s.serveUntil(ctx, listener, o)
}

// tempDir makes a folder for files that do not outlive the process, a sample or the
// certificate of an authority that does not stay. It makes none if there are no such
// files: a container may have no place for it.
func (o Options) tempDir() (string, error) {
	if o.File != "" && (!o.SelfSigned || o.TLSDir != "") {
		return "", nil
	}
	return os.MkdirTemp("", "svctoken-authserver-")
}

// open makes the caches, in one group, so that they are evicted together.
func (s *server) open(cfg tokencache.Config) (err error) {
	if s.fileCache, err = tokencache.New(s.group, "file", s.file, cfg); err != nil {
		return err
	}
	s.source = indexsource.New(s.index)
	if s.indexCache, err = tokencache.New(s.group, "index", s.source, cfg); err != nil {
		return err
	}
	s.indexState = s.source.State
	for _, id := range s.file.List() {
		if !s.known(id.Account) {
			s.logger.Warn("a token of an account that is not among -accounts will be refused", "token", id.String())
		}
	}
	return nil
}

// announce prints the server's addresses, and the operators' privileges.
func (l listening) announce(out io.Writer, file *filesource.File, path, generated string) {
	fmt.Fprintf(out, "Listening on %s\n", l.url())
	if l.caPath != "" {
		fmt.Fprintf(out, "CA fingerprint %s\n", l.fingerprint)
		fmt.Fprintf(out, "CA certificate in %s\n", l.caPath)
	}
	missing := ""
	if file.Status().Missing {
		missing = ", which does not exist: it has no tokens yet"
	}
	fmt.Fprintf(out, "Tokens in %s%s\n", path, missing)
	if generated != "" {
		fmt.Fprintf(out, "Operator %s\n", generated)
	}
}

// serveUntil serves until the context is done. Then the health reports that, for as long
// as load balancers need to notice, if any asks; after that the requests finish. A client
// that neither sends nor reads holds a connection until a timeout.
func (s *server) serveUntil(ctx context.Context, listener listening, o Options) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	srv := &http.Server{
		Handler:                      s.handler(),
		ReadHeaderTimeout:            10 * time.Second,
		ReadTimeout:                  30 * time.Second,
		WriteTimeout:                 o.MaxWait + time.Minute,
		IdleTimeout:                  2 * time.Minute,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.logger.Handler(), slog.LevelInfo),
	}
	go s.watch(background)
	go s.onHangup(background, o.hup, listener.certs)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	s.health.ShutDown()
	if s.healthWatched() {
		s.logger.Info("shutting down: the health says so first", "for", o.ShutdownDelay)
		time.Sleep(o.ShutdownDelay)
	}
	grace, cancel := context.WithTimeout(context.Background(), o.MaxWait+shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		srv.Close()
		return err
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// shutdownGrace is how long a request may take besides its wait for other nodes: to wait
// for its turn, and to load.
const shutdownGrace = 25 * time.Second

// onHangup reads the certificates and the file of tokens again at each signal on hup,
// until the context is done. It also reads certificates again when they have changed.
func (s *server) onHangup(ctx context.Context, hup <-chan os.Signal, certs *certificates) {
	again := make(chan os.Signal, 1)
	if certs != nil {
		go certs.watch(ctx, again)
	}
	for {
		select {
		case sig := <-hup:
			s.logger.Info("reading the files again", "signal", sig.String())
			s.file.Reload()
			select {
			case again <- sig:
			default:
			}
		case <-ctx.Done():
			return
		}
	}
}
