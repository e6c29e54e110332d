package lincheck

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

var cacheNames = [caches]string{"file", "index", "third"}

// secretOf returns the secret of a version of a slot. Version 0 stands for the
// secret that all versions share, if the profile says so.
//
// Every other token has secrets as long as generated ones, whose bearers a hit compares
// without decoding them; the rest have longer ones.
func secretOf(slot int, v version) tokencache.Secret {
	text := "the-secret-of-them-all"
	if v != 0 {
		text = fmt.Sprintf("%010d-slot-%06d", v, slot)
	}
	return tokencache.NewSecret(text + strings.Repeat("+", slot%tokens%2))
}

// header returns the header that a client sends: a hit looks for the header's text, and
// so takes another way than one for a parsed token.
func header(token tokencache.Token) string { return "Bearer " + token.RevealBearer() }

// newWorld makes the caches, over sources that have the first version of every token.
func newWorld(p profile, dir string) (*world, error) {
	w := &world{profile: p, group: tokencache.NewGroup(p.group)}
	for i := range w.last {
		w.last[i].Store(1)
		w.present[i] = 1
	}
	n := 2
	if p.three {
		n = 3
	}
	src := newPlain(0, p)
	for cache := range n {
		if !p.one {
			src = newPlain(cache, p)
		}
		m, err := newMember(w.group, cache, src, p, dir)
		if err != nil {
			return nil, err
		}
		w.caches = append(w.caches, m)
	}
	return w, nil
}

// newMember makes one of the caches.
func newMember(g *tokencache.Group, cache int, src *plain, p profile, dir string) (member, error) {
	switch {
	case !p.real:
		return newPlainMember(g, cache, src)
	case cache == 0:
		return newFile(g, p, dir)
	default:
		return newIndex(g, p)
	}
}

// slow makes a load take a while, before and after the source is read.
func slow() { yield(rand.IntN(5)) }

// A cacheOf is the common part of all members.
type cacheOf[R any] struct{ *tokencache.Cache[R] }

func (c cacheOf[R]) evict(sels ...tokencache.Selector) {
	c.Evict(context.Background(), tokencache.CauseAsked, sels...)
}
func (c cacheOf[R]) clear() { c.Clear(context.Background(), tokencache.CauseAsked) }
func (c cacheOf[R]) close() { c.Close() }

// A plainMember is a cache of a plain source.
type plainMember struct {
	cacheOf[version]
	*plain
}

// A plain is a source in memory, whose record is the version.
type plain struct {
	cache       int // its first
	profile     profile
	subscribers tokencache.Subscribers

	mu   sync.Mutex // guards says
	says [tokens]saying
}

// A holder is a plain source that is a tokencache.Holder.
type holder struct{ *plain }

func (h holder) MayHold(id tokencache.TokenID) bool {
	slow()
	defer slow()
	return h.read(slices.Index(ids[:], id)).version != 0
}

func newPlain(cache int, p profile) *plain {
	s := &plain{cache: cache, profile: p}
	for token := range s.says {
		s.says[token].version = 1
	}
	return s
}

func newPlainMember(g *tokencache.Group, cache int, s *plain) (member, error) {
	var src tokencache.Source[version] = s
	if s.profile.holds {
		src = holder{s}
	}
	c, err := tokencache.New(g, cacheNames[cache], src, s.profile.cfg)
	return &plainMember{cacheOf[version]{c}, s}, err
}

var errOutage = errors.New("the source fails now and then")

func (s *plain) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[version], error) {
	slow()
	defer slow()
	if id.Account == crowd {
		return tokencache.Answer[version]{Held: true, Record: 1, Verify: func(tokencache.Secret) bool { return true }}, nil
	}
	token := slices.Index(ids[:], id)
	says := s.read(token)
	v, expires := says.version, says.expires
	switch {
	case s.profile.panics && rand.IntN(6) == 0:
		panic("now and then")
	case s.profile.overdue && rand.IntN(6) == 0:
		time.Sleep(time.Millisecond)
	}
	switch {
	case v == 0 && s.profile.disables:
		return tokencache.Answer[version]{Held: true, Disabled: true, Verify: secretOf(token, 0).Equal}, nil
	case s.profile.fails && rand.IntN(3) == 0:
		return tokencache.Answer[version]{}, errOutage
	case v == 0:
		return tokencache.Answer[version]{}, nil
	}
	a := tokencache.Answer[version]{Held: true, Record: v, Expires: expires, Fast: rand.IntN(2) == 0, Verify: s.verify(token, v, expires)}
	if says.rotated {
		a.Previous.Verify, a.Previous.Expires = s.verify(token, v-1, expires), says.grace
	}
	if s.profile.asks {
		verify := a.Verify
		a.Verify = nil
		a.Ask = func(_ context.Context, presented tokencache.Secret) (bool, error) {
			if rand.IntN(6) == 0 {
				return false, errOutage
			}
			return verify(presented), nil
		}
	}
	return a, nil
}

// verify returns a function that verifies the secret of a version.
func (s *plain) verify(token int, v version, expires time.Time) func(tokencache.Secret) bool {
	secret := secretOf(token, 0)
	if s.profile.secrets {
		secret = secretOf(slot(s.cache, token), v)
	}
	return func(presented tokencache.Secret) bool {
		for s.profile.lingers && time.Now().Before(expires.Add(100*time.Microsecond)) {
			yield(1)
		}
		slow()
		return secret.Equal(presented)
	}
}

func (s *plain) read(token int) saying {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.says[token]
}

func (s *plain) Subscribe(inv tokencache.Invalidator) func() { return s.subscribers.Add(inv) }

func (s *plain) change(token int, says saying) versions {
	s.mu.Lock()
	s.says[token] = says
	s.mu.Unlock()
	if !s.profile.tells {
		return 0
	}
	slow()
	s.subscribers.Evict(context.Background(), tokencache.CauseSource, selectNames(ids[token].Account, ids[token].Name))
	return only(version(token))
}

func (s *plain) ends() bool { return true }

func (m *plainMember) authenticate(ctx context.Context, t tokencache.Token) (version, error) {
	verdict, err := m.Authenticate(ctx, header(t))
	return verdict.Record, err
}

// hashText returns a cheap password hash of a secret.
func hashText(secret tokencache.Secret) string {
	sum := sha256.Sum256([]byte(secret.Reveal() + "saltsalt"))
	return "{SSHA256}" + base64.StdEncoding.EncodeToString([]byte("saltsalt")) + base64.StdEncoding.EncodeToString(sum[:])
}

// A file is a real service_tokens file, whose loads take a while.
type file struct {
	cacheOf[filesource.Record]
	*filesource.File

	mu   sync.Mutex // one change at a time; guards says
	says [tokens]version
}

func newFile(g *tokencache.Group, p profile, dir string) (member, error) {
	f := &file{says: [tokens]version{1, 1, 1}}
	path := filepath.Join(dir, "service_tokens")
	if err := f.write(path); err != nil {
		return nil, err
	}
	opened, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: -1, OnlyChanged: rand.IntN(2) == 0})
	if err != nil {
		return nil, err
	}
	f.File = opened
	c, err := tokencache.New[filesource.Record](g, cacheNames[0], slowFile{opened}, p.cfg)
	f.cacheOf = cacheOf[filesource.Record]{c}
	return f, err
}

func (f *file) write(path string) error {
	var b strings.Builder
	for token, v := range f.says {
		if v != 0 {
			fmt.Fprintf(&b, "%v:%s\n", ids[token], hashText(secretOf(slot(0, token), v)))
		}
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

// change edits the file and reloads it. That clears the token, and perhaps all tokens:
// the model assumes only the token.
func (f *file) change(token int, says saying) versions {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.says[token] = says.version
	if err := f.write(f.Path()); err != nil {
		panic(err)
	}
	switch err := f.Reload(); {
	case errors.Is(err, tokencache.ErrClosed):
		return 0 // nobody reads it any more
	case err != nil:
		panic(err)
	}
	return only(version(token))
}

func (f *file) ends() bool { return false }

func (f *file) close() { f.cacheOf.close(); f.File.Close() }

func (f *file) authenticate(ctx context.Context, t tokencache.Token) (version, error) {
	_, err := f.Authenticate(ctx, header(t))
	return 0, err
}

type slowFile struct{ *filesource.File }

func (f slowFile) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[filesource.Record], error) {
	slow()
	defer slow()
	return f.File.Lookup(ctx, id)
}

// An index is a real index source over an index in memory, whose loads take a while.
type index struct {
	cacheOf[indexsource.Document]
	indexsource.Memory
}

func newIndex(g *tokencache.Group, p profile) (member, error) {
	m := &index{}
	for token := range tokens {
		m.change(token, saying{version: 1})
	}
	m.SetState(indexsource.State{Health: indexsource.HealthGreen, UUID: "1", UpToDate: true})
	c, err := tokencache.New(g, cacheNames[1], indexsource.New(m), p.cfg)
	m.cacheOf = cacheOf[indexsource.Document]{c}
	return m, err
}

func (m *index) Get(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	slow()
	defer slow()
	return m.Memory.Get(ctx, id)
}

func (m *index) change(token int, says saying) versions {
	if says.version == 0 {
		if err := m.Delete(context.Background(), ids[token]); err != nil {
			return 0 // it was not there: nothing has changed
		}
		return only(version(token))
	}
	doc := indexsource.Document{Token: ids[token], Enabled: true, Hash: hashOf(token, says.version), Expires: says.expires}
	if says.rotated {
		doc.Previous, doc.PreviousExpires = hashOf(token, says.version-1), says.grace
	}
	if err := m.Put(context.Background(), doc); err != nil {
		panic(err)
	}
	return only(version(token))
}

// hashOf returns the hash of the secret of a version in the index.
func hashOf(token int, v version) tokenhash.Hash {
	hash, err := tokenhash.Parse(hashText(secretOf(slot(1, token), v)))
	if err != nil {
		panic(err)
	}
	return hash
}

func (m *index) ends() bool { return true }

// clear changes the index's state, which clears its cache.
func (m *index) clear() {
	m.SetState(indexsource.State{Health: indexsource.HealthGreen, UUID: fmt.Sprint(rand.Uint64()), UpToDate: true})
}

func (m *index) authenticate(ctx context.Context, t tokencache.Token) (version, error) {
	_, err := m.Authenticate(ctx, header(t))
	return 0, err
}
