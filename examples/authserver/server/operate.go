package server

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/internal/eswire"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhealth"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
)

// An operation is the part of a server that shows its health and its metrics, without
// credentials.
type operation struct {
	log     *tokenlog.Observer
	metrics *tokenmetrics.Observer
	health  *tokenhealth.Handler
	asked   atomic.Int64 // when the health was last asked for, in nanoseconds since 1970; 0: never
}

// observe receives all events of the group. It leaves out of the log the evictions that a
// user has asked for: the server logs those with the user.
func (s *server) observe(ctx context.Context, ev tokencache.Event) {
	s.metrics.Observe(ctx, ev)
	if _, asked := evict.UserFrom(ctx); asked && ev.Kind == tokencache.EventEviction {
		return
	}
	s.operation.log.Observe(ctx, ev)
}

// watchAll chooses what the metrics and the health show.
func (s *server) watchAll(withoutIndex bool) {
	checks := []tokenhealth.Check{tokenhealth.Source("file", s.file)}
	s.metrics.Watch("", s.group)
	s.metrics.WatchFile("file", s.file)
	s.metrics.WatchIndex("index", s.indexStatus)
	if s.fleet != nil {
		s.metrics.WatchFleet("", s.fleet)
		checks = append(checks, tokenhealth.Fleet("fleet", s.fleet))
	}
	if !withoutIndex {
		checks = append(checks, tokenhealth.Source("index", s.source))
	}
	s.health = tokenhealth.New(checks...)
}

// indexStatus returns the index's condition, for the metrics.
func (s *server) indexStatus() tokenmetrics.IndexStatus {
	about := s.index.Describe(context.Background()) // it answers at once
	status := tokenmetrics.IndexStatus{Health: s.indexState().Health, Revision: -1, Polled: about.Polled, Err: about.Err}
	if revision, err := strconv.ParseInt(about.Revision, 10, 64); err == nil {
		status.Revision = revision
	}
	return status
}

// healthRoutes show the health, without credentials.
var healthRoutes = []eswire.Pattern{eswire.NewPattern("/_health"), eswire.NewPattern("/_health/live"), eswire.NewPattern("/_health/ready")}

// withHealth answers the health's routes before credentials are checked.
func (s *server) withHealth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := eswire.Segments(r.URL)
		for _, pattern := range healthRoutes {
			if _, ok := pattern.Match(parts); ok {
				s.asked.Store(time.Now().UnixNano())
				s.health.ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// healthWatched reports whether somebody asks for the health, and so should learn that
// the server is about to end before it does.
func (s *server) healthWatched() bool {
	asked := s.asked.Load()
	return asked != 0 && time.Since(time.Unix(0, asked)) < time.Minute
}

// metricsRoute is compared as it is spelt, like all routes.
var metricsRoute = eswire.NewPattern("/metrics")

// serveMetrics serves the metrics and the health on an address of their own. It returns
// the URL, and a function that ends it.
func (s *server) serveMetrics(address string) (url string, stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", nil, err
	}
	metrics := tokenmetrics.Handler(s.metrics)
	route := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := metricsRoute.Match(eswire.Segments(r.URL)); !ok {
			http.NotFound(w, r)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	srv := &http.Server{
		Handler: s.withHealth(route), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	go srv.Serve(listener)
	return "http://" + listener.Addr().String(), func() { srv.Close() }, nil
}
