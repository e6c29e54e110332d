package tokencache

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Config holds the options of a [Cache]. The zero value is the recommended
// production setting.
type Config struct {
	// TTL is how long a success is remembered, counted from the start of its
	// load; reads do not extend it. Zero: 20 minutes. Negative: nothing is
	// remembered, though concurrent callers of one token still share a load.
	//
	// It is exact to the millisecond. Time during which the machine was suspended counts,
	// and so does a wall clock that is set ahead; setting it back changes nothing. A
	// success that had more than a minute left when the machine was suspended, or the
	// process paused, may be confirmed past its time for at most a second after it
	// continues.
	TTL time.Duration

	// Jitter is the most that is taken off the TTL of each success, at random, so
	// that tokens which were loaded together are not all loaded again together. At
	// most TTL. Zero: a tenth of TTL. Negative: none.
	Jitter time.Duration

	// MaxEntries is how many successes are remembered. When there are more, one not
	// used recently is displaced (S3-FIFO). Zero: 100 000. Negative is an error: to
	// disable caching, set a negative TTL.
	MaxEntries int

	// AbsentTTL is how long refusals are remembered that do not depend on the secret:
	// that the source does not hold a token, that it is disabled, or that it has expired;
	// for the last 10 000 such names. An eviction that selects the name ends it, and so
	// does each change that the source reports. It bounds what these names cost the
	// source. If a source does not report that a token was created, or is good again, a
	// token that was tried before stays refused for that long. Zero: 5 seconds. Negative,
	// or with a negative TTL, or with HideNames: not at all.
	AbsentTTL time.Duration

	// LoadTimeout is how long the source may take to answer, and then one hash to be
	// computed; waiting for a turn does not count. Zero: 10 seconds. Negative, or
	// above 24 hours, is an error: a load without a deadline could hold up its token
	// for ever.
	LoadTimeout time.Duration

	// MaxLoads is how many loads may read at once. Further ones wait, see
	// GroupConfig.MaxWait. One account may use an eighth of them, so that reads of one
	// account that hang leave room for the others. Loads that still run after LoadTimeout
	// are strays. While there are as many strays as MaxLoads, or 64 if that is more, no
	// load begins; nor does one of an account that has an eighth of that number. Loads
	// that read or hash by then may still become strays. Zero: 1024. Negative is an
	// error.
	MaxLoads int

	// MaxBackoff is the longest pause in which a source is left alone after loads have
	// failed five times in a row: for one name; for an account, when several of its names
	// have failed; or for all, when names of several accounts have. Meanwhile,
	// authentications that need a paused read fail at once. Pauses begin at 10
	// milliseconds and double; after one, a single load goes through at a time. The first
	// success, or a change that the source reports, ends them. Zero: 1 second. Negative:
	// no pauses.
	MaxBackoff time.Duration

	// ServeStale is how long past its TTL a success may still be confirmed while the
	// source does not answer. The verdict says so. A refusal by the source, an
	// eviction and the token's own expiry end it. Zero or negative: not at all, as
	// a revoked token may be confirmed for that much longer.
	ServeStale time.Duration

	// StaleWait is how long an authentication waits for the source before it gets the
	// answer that ServeStale allows. The load goes on, and its result counts from then
	// on. Zero: 1 second. Negative: as long as the load takes, or the caller's context
	// lasts.
	StaleWait time.Duration

	// RefreshAhead is how long before its TTL ends a success that is in use is loaded
	// again, once, in the background; if that fails, it is remembered until the
	// TTL ends. Zero or negative: not at all, as it doubles the reads of rare tokens
	// whose callers would not mind waiting. Must be below TTL.
	RefreshAhead time.Duration

	// HideNames makes each refusal take a read of the source and a hash, even for tokens
	// that the source does not hold, and for wrong secrets of remembered ones, so that
	// the time which a refusal takes hardly tells which names exist: a difference of up
	// to 0.3 microseconds is left, see SECURITY.md. The hash is the first one that the
	// source returned, of each form; until then there is none. It hides nothing for a
	// source that sets Answer.Ask, which is asked only about tokens that it holds, and a
	// name with a previous secret takes two hashes. Off by default, as refusals are what
	// attackers cause, and names are not secret.
	HideNames bool
}

const (
	defaultTTL         = 20 * time.Minute
	defaultMaxEntries  = 100_000
	defaultAbsentTTL   = 5 * time.Second
	defaultLoadTimeout = 10 * time.Second
	maxLoadTimeout     = 24 * time.Hour
	defaultMaxLoads    = 1024
	defaultBackoff     = time.Second
	defaultStaleWait   = time.Second
	minStrays          = 64
)

// withDefaults returns cfg with its zero values replaced, and an error for each
// field that breaks its rule. A negative duration becomes zero: off.
func (cfg Config) withDefaults() (Config, error) {
	var errs []error
	reject := func(field string, value any, rule string) {
		errs = append(errs, fmt.Errorf("tokencache: Config.%s is %v: %s", field, value, rule))
	}
	if cfg.MaxEntries < 0 {
		reject("MaxEntries", cfg.MaxEntries, "must not be negative; a negative TTL switches the cache off")
	}
	if cfg.LoadTimeout < 0 || cfg.LoadTimeout > maxLoadTimeout {
		reject("LoadTimeout", cfg.LoadTimeout, "must be 0 to 24 hours; a load without a deadline would hold its token for ever")
	}
	if cfg.MaxLoads < 0 {
		reject("MaxLoads", cfg.MaxLoads, "must not be negative")
	}
	ttl := orDefault(cfg.TTL, defaultTTL, 0)
	if ttl > 0 && cfg.Jitter > ttl {
		reject("Jitter", cfg.Jitter, fmt.Sprintf("must not be above TTL, which is %v", ttl))
	}
	if ttl > 0 && cfg.RefreshAhead >= ttl {
		reject("RefreshAhead", cfg.RefreshAhead, fmt.Sprintf("must be below TTL, which is %v", ttl))
	}
	return Config{
		TTL:          ttl,
		Jitter:       orDefault(cfg.Jitter, ttl/10, 0),
		MaxEntries:   cmp.Or(cfg.MaxEntries, defaultMaxEntries),
		AbsentTTL:    orDefault(cfg.AbsentTTL, defaultAbsentTTL, 0),
		LoadTimeout:  cmp.Or(cfg.LoadTimeout, defaultLoadTimeout),
		MaxLoads:     cmp.Or(cfg.MaxLoads, defaultMaxLoads),
		MaxBackoff:   orDefault(cfg.MaxBackoff, defaultBackoff, 0),
		ServeStale:   max(0, cfg.ServeStale),
		StaleWait:    orDefault(cfg.StaleWait, defaultStaleWait, 0),
		RefreshAhead: cfg.RefreshAhead,
		HideNames:    cfg.HideNames,
	}, errors.Join(errs...)
}
