package tokenotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/svctoken/svctoken/tokencache"
)

// The instruments that are read from a group's counters.
type instruments struct {
	authentications, lookups, removals metric.Int64ObservableCounter
	hashing, entries, active, strays   metric.Int64ObservableUpDownCounter
}

// Watch reads the group's counters whenever the metrics are collected, until
// Unregister of the result. It waits for no source. The error is what the provider
// says of an instrument.
func (t *Telemetry) Watch(group *tokencache.Group) (metric.Registration, error) {
	in, err := t.instruments()
	if err != nil {
		return nil, err
	}
	return t.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		in.observe(o, group)
		return nil
	}, in.authentications, in.lookups, in.removals, in.hashing, in.entries, in.active, in.strays)
}

func (t *Telemetry) instruments() (in instruments, _ error) {
	var errs []error
	counter := func(name, unit, help string) metric.Int64ObservableCounter {
		c, err := t.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
		errs = append(errs, err)
		return c
	}
	level := func(name, unit, help string) metric.Int64ObservableUpDownCounter {
		c, err := t.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
		errs = append(errs, err)
		return c
	}
	in.authentications = counter("svctoken.authentications", "{authentication}", "Authentications, by how they ended.")
	in.lookups = counter("svctoken.cache.lookups", "{lookup}", "What a cache was asked, by what it remembered.")
	in.removals = counter("svctoken.cache.removals", "{entry}", "Entries that went, by why.")
	in.hashing = level("svctoken.hashing", "{hash}", "Password hashes that are being computed.")
	in.entries = level("svctoken.cache.entries", "{entry}", "Verdicts that are remembered.")
	in.active = level("svctoken.load.active", "{load}", "Loads that are reading.")
	in.strays = level("svctoken.load.strays", "{load}", "Loads that run on, though they have taken too long or the cache is closed.")
	return in, errors.Join(errs...)
}

func (in instruments) observe(o metric.Observer, group *tokencache.Group) {
	st := group.Stats()
	count := func(c metric.Int64ObservableCounter, n uint64, attrs ...attribute.KeyValue) {
		o.ObserveInt64(c, int64(n), metric.WithAttributes(attrs...))
	}
	outcome := func(word string, n uint64) { count(in.authentications, n, attribute.String("svctoken.outcome", word)) }
	outcome("confirmed", st.Confirmed)
	outcome("refused", st.Refused)
	outcome("not_service_token", st.NotServiceTokens)
	outcome("overloaded", st.Overloaded)
	outcome("closed", st.Closed)
	outcome("no_answer", st.NoAnswer)
	o.ObserveInt64(in.hashing, int64(st.Hashing))
	for name, st := range group.Caches() {
		cache := cacheKey(name)
		for _, r := range []struct {
			word string
			n    uint64
		}{{"hit", st.Hits}, {"mismatch", st.Mismatches}, {"absent", st.Absent}, {"miss", st.Misses}, {"stale", st.Stale}} {
			count(in.lookups, r.n, cache, attribute.String("svctoken.result", r.word))
		}
		for _, r := range []struct {
			word string
			n    uint64
		}{{"evicted", st.Evicted}, {"expired", st.Expired}, {"displaced", st.Displaced}} {
			count(in.removals, r.n, cache, attribute.String("svctoken.removal", r.word))
		}
		o.ObserveInt64(in.entries, int64(st.Entries), metric.WithAttributes(cache))
		o.ObserveInt64(in.active, int64(st.Loading), metric.WithAttributes(cache))
		o.ObserveInt64(in.strays, int64(st.Strays), metric.WithAttributes(cache))
	}
}
