package indexsource

import (
	"context"
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A UseStore keeps when tokens were last used, apart from their documents: a use is no
// change, and clears nothing. [Memory] is one. Its methods must be safe for concurrent
// use by multiple goroutines.
type UseStore interface {
	// NoteUses notes when tokens were last used. Of two times for a token the later
	// one counts. Tokens that the index does not hold may be left out.
	NoteUses(ctx context.Context, uses map[tokencache.TokenID]time.Time) error

	// LastUses returns when the tokens of an account were last used, by their names.
	// One that was not used since it was created is missing.
	LastUses(ctx context.Context, account tokencache.Account) (map[string]time.Time, error)
}

// useInterval is how often uses are noted.
const useInterval = time.Minute

// KeepUses notes in the store, once a minute, which tokens have been used since the last
// time: used is [tokencache.Cache.Used] of the index's cache. If the store fails, the
// uses are noted a minute later. A process that is killed loses at most a minute of uses.
//
// It calls used at once, from when on a cache keeps the uses of tokens that go. It starts
// a goroutine, which notes once more and ends when stop is called. Stop returns within
// five seconds, and may be called more than once. The logger gets a line when noting
// begins to fail; nil: silent.
func KeepUses(store UseStore, used func() iter.Seq2[tokencache.TokenID, time.Time], logger *slog.Logger) (stop func()) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	k := &useKeeper{store: store, used: used, logger: logger, pending: make(map[tokencache.TokenID]time.Time)}
	k.collect()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// A useKeeper notes uses. It belongs to one goroutine.
type useKeeper struct {
	store   UseStore
	used    func() iter.Seq2[tokencache.TokenID, time.Time]
	logger  *slog.Logger
	pending map[tokencache.TokenID]time.Time // not in the store yet
	failing bool
}

func (k *useKeeper) run(ctx context.Context) {
	for {
		// Up to a tenth earlier, so that nodes which have started together do not write together.
		timer := time.NewTimer(useInterval - rand.N(useInterval/10))
		select {
		case <-timer.C:
			k.note(ctx, useInterval)
		case <-ctx.Done():
			timer.Stop()
			k.note(context.WithoutCancel(ctx), 5*time.Second)
			return
		}
	}
}

// collect adds to the pending uses.
func (k *useKeeper) collect() {
	for id, at := range k.used() {
		if at.After(k.pending[id]) {
			k.pending[id] = at
		}
	}
}

// note gives the pending uses to the store.
func (k *useKeeper) note(ctx context.Context, timeout time.Duration) {
	k.collect()
	if len(k.pending) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := k.store.NoteUses(ctx, k.pending)
	if err == nil {
		clear(k.pending)
	} else if !k.failing {
		k.logger.Warn("the last uses of tokens cannot be noted", "error", err)
	}
	k.failing = err != nil
}
