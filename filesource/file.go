package filesource

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
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
	path   string
	shown  string // the path, for messages
	cfg    Config
	sys    *system
	seed   maphash.Seed // of the hashes of texts
	caches tokencache.Subscribers

	view   atomic.Pointer[view]
	status atomic.Pointer[Status]

	turn      chan struct{}             // full while the state machine of follow.go runs for Open, the poller or Reload
	applying  chan struct{}             // full while a draft is applied; an edit fills it from its last check on
	knowledge atomic.Pointer[knowledge] // written with applying held
	notifier  *notifier
	calls     calls

	life   context.Context    // done when Close is called: the poller, Reload and edits end then
	end    context.CancelFunc // of life
	closed atomic.Bool
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
	// Poll is how often to look whether the file has changed. While nothing changes, a
	// look costs two stats, and the file is read once a minute. Zero: 1 second.
	// Negative: never; the host calls Reload.
	Poll time.Duration

	// Rest is the quiet period: for how long a file that is written in place must stay
	// unchanged before a text is applied that lacks or changes tokens; five times as
	// long, if it looks like the beginning of a text. Edits wait for it too. See the
	// package's documentation of changes. Zero: 400 milliseconds, for writers that pause for
	// a quarter of a second. Negative: not at all, for files that are replaced by
	// renames only.
	Rest time.Duration

	// MaxBytes is the size of the largest file that is read: a larger one is an
	// error, and no edit writes one. Zero: 256 MiB, the room of 1.7 million tokens
	// as Elasticsearch writes them; an edit takes up to three times the size in
	// memory. Negative: no limit.
	MaxBytes int64

	// KeepMissing is for how long the tokens of a file that has gone stay in force.
	// Zero: not at all: deleting the file is taken as revoking its tokens. It is
	// for hosts whose file may be away for a while, on a network for example.
	KeepMissing time.Duration

	// KeepBad is for how long the last good tokens stay in force while the file is bad
	// or cannot be read. Afterwards it is as with FailClosed: no token is accepted, so
	// that a revocation that was written beside a typo comes into force. Zero or
	// negative: for as long as it takes, unlike KeepMissing.
	KeepBad time.Duration

	// FailClosed accepts no token while the file is bad or cannot be read, instead
	// of keeping the last good ones. Lookup then returns an error, so that callers
	// can tell the outage from a refusal.
	FailClosed bool

	// FastHash makes Create and Rotate write {SSHA256} hashes, which take a
	// microsecond to verify instead of milliseconds: nobody can guess a secret that
	// they have generated, however fast a guess is. The default is PBKDF2_STRETCH, as
	// Elasticsearch writes. Elasticsearch reads both.
	FastHash bool

	// OnlyChanged makes a change forget only the tokens whose lines changed, came or
	// went, instead of clearing the file's caches.
	OnlyChanged bool

	// OnReload is called after each reload which changed the tokens, changed the
	// warnings, failed in a new way, succeeded after a failure, or found that the
	// file came or went. By then the caches have been told. It is called by the
	// goroutine that reloads, or by another one that is reporting already:
	// one call at a time, in order, without a lock. So it may call every method of
	// the File; what such a call changes is reported when the callback has
	// returned.
	OnReload func(Status)

	// Logger gets a line for what OnReload is called for. Nil: silent.
	Logger *slog.Logger
}

// A Status is the outcome of the last reload.
type Status struct {
	Looked       time.Time   // when the last look at the file ended, with news or without: long ago only if the file system hangs or nobody looks
	Time         time.Time   // when the file was last loaded, found missing, or failed to load
	Changed      time.Time   // when a reload last changed the tokens
	Tokens       int         // how many tokens there are now
	Missing      bool        // whether the file was missing
	Warnings     []LineError // the first lines, at most 20, that were skipped or overridden in the present tokens' file; not to be changed
	MoreWarnings int         // how many more such lines there are
	Err          error       // why the file could not be loaded, or nil: a *FormatError, or what the system said
	Failing      time.Time   // since when it could not be loaded, whatever the errors were; zero while Err is nil
}

const (
	defaultPoll     = time.Second
	defaultRest     = 400 * time.Millisecond
	defaultMaxBytes = 256 << 20
)

// Open reads the file and starts to follow it; a file that is missing has no
// tokens, until it appears. The error is a [*FormatError] for a file with bad
// lines, or says why the file cannot be read; nothing is running then.
//
// Only regular files are read, and symbolic links to them. Open does not wait, except
// for a file that is empty, badly formed or without a last line end: that one it gives
// Config.Rest, as it may be in the middle of being saved.
func Open(path string, cfg Config) (*File, error) { return open(path, cfg, realSystem()) }

func open(path string, cfg Config, sys *system) (*File, error) {
	if cfg.Poll == 0 {
		cfg.Poll = defaultPoll
	}
	if cfg.Rest == 0 {
		cfg.Rest = defaultRest
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	f := &File{
		path: path, shown: printable(path), cfg: cfg, sys: sys, seed: maphash.MakeSeed(),
		turn: make(chan struct{}, 1), applying: make(chan struct{}, 1),
	}
	f.life, f.end = context.WithCancel(context.Background())
	f.notifier = newNotifier(f.log, cfg.OnReload)
	f.view.Store(&view{})
	f.status.Store(&Status{})
	f.knowledge.Store(&knowledge{})
	if err := f.reload(opening); err != nil {
		f.end()
		return nil, err
	}
	if f.Status().Missing {
		cfg.Logger.Warn("service tokens file is missing", slog.String("path", path), slog.Int("tokens", 0))
	}
	if cfg.Poll > 0 {
		f.notifier.polling = true
		go func() {
			defer f.notifier.set(&f.notifier.polling, false)
			f.poll(f.life)
		}()
	}
	return f, nil
}

// Reload loads what the file says, once that has rested, as the poller does: it is for a
// host with a watcher of its own. It reads the file whatever its times say, and parses it
// only if it has changed. It waits for as long as Config.Rest and the package's
// documentation say, and for a file that never rests at most twenty times Config.Rest;
// before that, it waits for its turn, as the poller and each Reload look one after the
// other. When it returns, the caches have forgotten what the change made wrong. It
// returns why the file could not be loaded, as [Open] does, that the file system does
// not answer, or an error that wraps tokencache.ErrClosed; what was loaded before stays,
// unless Config.FailClosed.
func (f *File) Reload() error {
	err := f.notifier.untilTold(f.life)
	if err != nil {
		err = fmt.Errorf("filesource: %s: %w", f.shown, err)
	} else {
		err = f.reload(following)
	}
	if f.closed.Load() && errors.Is(err, context.Canceled) { // as life is done
		return f.closedError()
	}
	return err
}

func (f *File) reload(who reader) error {
	if err := f.load(f.life, who, false); err != nil {
		return err
	}
	err := f.Status().Err
	f.notifier.report(f.life, false)
	return err
}

// Path returns the path that Open was given.
func (f *File) Path() string { return f.path }

// Status returns the outcome of the last reload: the File's health.
func (f *File) Status() Status {
	st := *f.status.Load()
	st.Looked = f.calls.lastEnded()
	return st
}

// List returns the ids of all tokens that can be used, sorted by qualified name: none
// after Close.
func (f *File) List() []tokencache.TokenID {
	if f.closed.Load() {
		return nil
	}
	tokens := f.view.Load().tokens
	names := make([]string, 0, tokens.len())
	for name := range tokens.all() {
		names = append(names, name)
	}
	slices.Sort(names)
	ids := make([]tokencache.TokenID, 0, len(names))
	for _, name := range names {
		if id, err := tokencache.ParseTokenID(strings.Clone(name)); err == nil { // always: it was parsed before
			ids = append(ids, id)
		}
	}
	return ids
}

// Lookup finds the token, for a cache. It does not block. It fails after Close, with an
// error that wraps tokencache.ErrClosed, and with Config.FailClosed or Config.KeepBad,
// while the file cannot be loaded; that error wraps the reason.
func (f *File) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[Record], error) {
	if f.closed.Load() {
		return tokencache.Answer[Record]{}, f.closedError()
	}
	v := f.view.Load()
	if v.err != nil {
		return tokencache.Answer[Record]{}, v.err
	}
	hash, ok := v.find(id)
	if !ok {
		return tokencache.Answer[Record]{}, nil
	}
	scheme, err := passhash.Check(hash)
	if err != nil {
		return tokencache.Answer[Record]{}, err // cannot happen: it was checked when it was read
	}
	return tokencache.Answer[Record]{
		Held:   true,
		Record: Record{Scheme: scheme},
		Fast:   passhash.IsFast(hash),
		Verify: func(secret tokencache.Secret) bool { return passhash.Verify(hash, secret.Reveal()) },
	}, nil
}

// MayHold reports whether the file has the token, so that a cache need not start
// a load to find out that it has not. While Lookup fails, it reports true.
func (f *File) MayHold(id tokencache.TokenID) bool {
	v := f.view.Load()
	_, ok := v.find(id)
	return ok || v.err != nil || f.closed.Load()
}

// find returns the token's hash. It builds the qualified name on the stack, without an
// allocation.
func (v *view) find(id tokencache.TokenID) (hash string, ok bool) {
	var buf [128]byte
	name := append(buf[:0], id.Account.Namespace...)
	name = append(name, '/')
	name = append(name, id.Account.Service...)
	name = append(name, '/')
	name = append(name, id.Name...)
	hash, ok = v.tokens.get(textOf(name))
	return hash, ok
}

// Subscribe registers a cache that is to be told of every change; see
// tokencache.Source. While the caches are being told, no change can be made from
// within, by the group's observer for example: Reload and edits return an error there,
// at once if they get the context of the notification, and otherwise when that has
// taken ten seconds. All other methods may be called.
func (f *File) Subscribe(cache tokencache.Invalidator) (cancel func()) { return f.caches.Add(cache) }
