package filesource

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/internal/passhash"
	"github.com/svctoken/svctoken/tokencache"
)

// A File is an open service_tokens file: a source for a tokencache.Cache. Open
// makes one.
//
// It is safe for concurrent use by multiple goroutines.
type File struct {
	path string
	cfg  Config

	tokens atomic.Pointer[map[tokencache.TokenID]stored] // replaced, never changed
	status atomic.Pointer[Status]

	reloading sync.Mutex // one reload at a time; Lookup does not take it
	seen      sighting   // guarded by reloading: what the last reload read
	loaded    bool       // guarded by reloading: whether there was one

	caches tokencache.Subscribers

	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
}

var (
	_ tokencache.Source[Record] = (*File)(nil)
	_ tokencache.Holder         = (*File)(nil)
)

// A Record is what the file knows of a token that matched.
type Record struct {
	// Scheme is how the file keeps the secret: PBKDF2_STRETCH, PBKDF2, bcrypt or
	// SSHA256.
	Scheme string
}

// Config holds the options of a [File]. The zero value is the recommended
// production setting.
type Config struct {
	// Poll is how often to look whether the file has changed. A look costs one
	// stat while nothing changes. Zero: 1 second. Negative: never; the host calls
	// Reload.
	Poll time.Duration

	// FailClosed drops all tokens when the file turns bad or unreadable, instead
	// of keeping the last good ones.
	FailClosed bool

	// OnlyChanged has a change forget only the tokens whose lines changed, came or
	// went, instead of clearing the file's caches.
	OnlyChanged bool

	// OnReload is called after each reload which changed the tokens, changed the
	// warnings, failed in a new way, or succeeded after a failure. By then the
	// caches have been told. It may be called from several goroutines, but not at
	// once, and must not call a method of the File that reloads.
	OnReload func(Status)

	// Logger gets a line for what OnReload is called for. Nil: silent.
	Logger *slog.Logger
}

// A Status is the outcome of the last reload.
type Status struct {
	Time     time.Time   // when the file was last loaded, or failed to
	Changed  time.Time   // when a reload last changed the tokens
	Tokens   int         // how many tokens there are now
	Warnings []LineError // lines of the present tokens' file that were skipped or overridden; not to be changed
	Err      error       // why the file could not be loaded, or nil: a *FormatError, or what the system said
}

const defaultPoll = time.Second

// Open reads the file and starts to follow it; a file that is missing has no
// tokens, until it appears. The error is a [*FormatError] for a file with bad
// lines, or what the system said; nothing has been started then.
func Open(path string, cfg Config) (*File, error) {
	if cfg.Poll == 0 {
		cfg.Poll = defaultPoll
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &File{path: path, cfg: cfg, stop: make(chan struct{})}
	f.tokens.Store(new(map[tokencache.TokenID]stored))
	f.status.Store(&Status{})
	if err := f.Reload(); err != nil {
		return nil, err
	}
	if cfg.Poll > 0 {
		f.stopped.Go(f.poll)
	}
	return f, nil
}

// Close stops following the file, and waits until the poller has ended. The
// tokens stay as they are, and Reload works on. It may be called again.
func (f *File) Close() {
	f.once.Do(func() { close(f.stop) })
	f.stopped.Wait()
}

// Path returns the path that Open was given.
func (f *File) Path() string { return f.path }

// Status returns the outcome of the last reload: the File's health.
func (f *File) Status() Status { return *f.status.Load() }

// List returns the ids of all tokens that can be used, sorted by qualified name.
func (f *File) List() []tokencache.TokenID {
	ids := slices.Collect(maps.Keys(*f.tokens.Load()))
	slices.SortFunc(ids, func(a, b tokencache.TokenID) int { return strings.Compare(a.String(), b.String()) })
	return ids
}

// Lookup finds the token, for a cache. It does not block and never fails.
func (f *File) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[Record], error) {
	s, ok := (*f.tokens.Load())[id]
	if !ok {
		return tokencache.Answer[Record]{}, nil
	}
	return tokencache.Answer[Record]{
		Held:   true,
		Record: Record{Scheme: s.scheme},
		Verify: func(secret tokencache.Secret) bool { return passhash.Verify(s.hash, secret.Reveal()) },
	}, nil
}

// MayHold reports whether the file has the token, so that a cache need not start
// a load to find out that it has not.
func (f *File) MayHold(id tokencache.TokenID) bool {
	_, ok := (*f.tokens.Load())[id]
	return ok
}

// Subscribe has the cache told of every change; see tokencache.Source.
func (f *File) Subscribe(cache tokencache.Invalidator) (cancel func()) { return f.caches.Add(cache) }
