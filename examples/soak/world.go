package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// A world is a group of two caches, with good tokens and attacked accounts.
type world struct {
	group      *tokencache.Group
	indexCache *tokencache.Cache[indexsource.Document]
	file       *indexsource.Memory // stands for the file
	index      *flaky
	secret     tokencache.Secret // of all good tokens that do not change
	hash       tokenhash.Hash    // of the secret; making one takes as long as checking it
	leaked     tokencache.Secret // of a token that was good, and is revoked
	long       string            // the header of a token with a secret of 700 kB
	fresh      atomic.Int64      // how many of the fresh tokens have been made
	rotations  []*rotation

	tally tally

	computing atomic.Int64 // how many hashes are being computed
	turns     turns
	waited    sync.Map // of a good token: what turns.waited returned for its last hash
}

const (
	cachedTokens      = 200
	goodAccounts      = 20
	regulars          = 10 // tokens that are cleared, again and again
	victimTokens      = 100
	expensiveAccounts = 6
	otherAccounts     = 8
)

var (
	victim  = tokencache.Account{Namespace: "victims", Service: "one"}
	hanging = tokencache.Account{Namespace: "victims", Service: "hanging"}
	regular = tokencache.Account{Namespace: "good", Service: "regular"}
)

func goodAccount(i int) tokencache.Account {
	return tokencache.Account{Namespace: "good", Service: fmt.Sprintf("service-%d", i%goodAccounts)}
}

// expensive is an account whose hashes take long: those of every second one are bcrypt's,
// those of the others PBKDF2's with 100 000 rounds.
func expensive(i int) tokencache.Account {
	return tokencache.Account{Namespace: "victims", Service: fmt.Sprintf("expensive-%d", i%expensiveAccounts)}
}

// other is an account beside the victim's, with one token.
func other(i int) tokencache.Account {
	return tokencache.Account{Namespace: "victims", Service: fmt.Sprintf("other-%d", i%otherAccounts)}
}

func newWorld(bcryptCost int) (*world, error) {
	w := &world{
		group: tokencache.NewGroup(tokencache.GroupConfig{}),
		file:  new(indexsource.Memory), index: newFlaky(),
		secret: tokencache.GenerateSecret(),
	}
	w.turns.group = w.group
	w.hash = tokenhash.Stretched(w.secret) // PBKDF2 with 10 000 rounds
	token, err := tokencache.NewToken(victim.TokenID("t-1"), tokencache.NewSecret(strings.Repeat("x", 700_000)))
	if err != nil {
		return nil, err
	}
	w.long = "Bearer " + token.RevealBearer()
	var errs []error
	put := func(index interface {
		Put(context.Context, indexsource.Document) error
	}, id tokencache.TokenID, hash tokenhash.Hash) {
		errs = append(errs, index.Put(context.Background(), document(id, hash)))
	}
	for i := range cachedTokens {
		put(w.file, goodAccount(i).TokenID(fmt.Sprintf("cached-%d", i)), w.hash)
	}
	for i := range victimTokens {
		put(w.index, victim.TokenID(fmt.Sprintf("t-%d", i)), w.hash)
	}
	for i := range otherAccounts {
		put(w.index, other(i).TokenID("t"), w.hash)
	}
	for i := range regulars {
		put(w.index, regular.TokenID(fmt.Sprintf("r-%d", i)), w.hash)
	}
	hashes, err := expensiveHashes(bcryptCost)
	errs = append(errs, err)
	for i := range expensiveAccounts * 10 {
		put(w.index, expensive(i).TokenID(fmt.Sprintf("t-%d", i/expensiveAccounts)), hashes[i%expensiveAccounts%2])
	}
	for i, index := range []*indexsource.Memory{w.file, &w.index.Memory} {
		w.rotations = append(w.rotations, &rotation{index: index, id: tokencache.Account{Namespace: "good", Service: "rotated"}.TokenID(fmt.Sprintf("r-%d", i))})
	}
	_, err = tokencache.New(w.group, "file", counted{indexsource.New(w.file), w}, tokencache.Config{})
	errs = append(errs, err)
	w.indexCache, err = tokencache.New(w.group, "index", counted{indexsource.New(w.index), w}, tokencache.Config{})
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	return w, w.warm()
}

// expensiveHashes makes hashes of both kinds that no secret here matches.
func expensiveHashes(bcryptCost int) (hashes [2]tokenhash.Hash, err error) {
	bc, err := bcrypt.GenerateFromPassword([]byte(rand.Text()), bcryptCost)
	if err != nil {
		return hashes, err
	}
	salt := make([]byte, 32)
	rand.Read(salt) // documented never to fail
	key, err := pbkdf2.Key(sha512.New, rand.Text(), salt, 100_000, 32)
	if err != nil {
		return hashes, err
	}
	encode := base64.StdEncoding.EncodeToString
	for i, text := range []string{string(bc), "{PBKDF2}100000$" + encode(salt) + "$" + encode(key)} {
		if hashes[i], err = tokenhash.Parse(text); err != nil {
			return hashes, err
		}
	}
	return hashes, nil
}

// warm puts the cached tokens into the caches, which takes a hash each.
func (w *world) warm() error {
	var warming errgroup.Group
	warming.SetLimit(runtime.GOMAXPROCS(0))
	for i := range cachedTokens {
		warming.Go(func() error {
			return w.authenticate(context.Background(), goodAccount(i).TokenID(fmt.Sprintf("cached-%d", i)), w.secret, good)
		})
	}
	return warming.Wait()
}

// oneHash returns how long the hash of a good token takes while nothing else runs.
func (w *world) oneHash() time.Duration {
	var took []time.Duration
	for range 21 {
		start := time.Now()
		w.hash.Verify(w.secret)
		took = append(took, time.Since(start))
	}
	return quantile(took, 0.5)
}

func document(id tokencache.TokenID, hash tokenhash.Hash) indexsource.Document {
	return indexsource.Document{Token: id, Created: time.Now(), Creator: "soak", Enabled: true, Hash: hash}
}

func (w *world) close(ctx context.Context) error {
	w.index.letGo()
	w.group.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return w.group.Wait(ctx)
}

// drain waits until nothing runs or waits, and returns how much is left. It waits a
// second at most after the last hash, which cannot be stopped.
func (w *world) drain() (left int) {
	const patience = time.Second
	deadline, most := time.Now().Add(patience), time.Now().Add(time.Minute)
	for ; ; time.Sleep(10 * time.Millisecond) {
		now := time.Now()
		if w.computing.Load() > 0 && now.Before(most) {
			deadline = now.Add(patience)
		}
		st := w.group.Stats()
		left = st.Hashing + st.Waiting
		for _, st := range w.group.Caches() {
			left += st.Loading + st.Waiting + st.Abandoned
		}
		if left == 0 || now.After(deadline) {
			return left
		}
	}
}

// A counted source records when reads and hashes begin, and how many came before those of
// good tokens.
type counted struct {
	*indexsource.Source
	w *world
}

func (c counted) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[indexsource.Document], error) {
	c.w.turns.begin(tokencache.Account{})
	a, err := c.Source.Lookup(ctx, id)
	read := c.w.turns.end()
	if verify := a.Verify; verify != nil {
		a.Verify = func(secret tokencache.Secret) bool {
			c.w.computing.Add(1)
			defer c.w.computing.Add(-1)
			own := c.w.turns.begin(id.Account)
			defer c.w.turns.end()
			if secret.Equal(c.w.secret) {
				c.w.waited.Store(id, c.w.turns.waited(read, own))
			}
			return verify(secret)
		}
	}
	return a, err
}

// A flaky is an index whose reads can fail, and whose reads of one account's tokens can
// hang; every tenth of these ignores its context.
type flaky struct {
	indexsource.Memory
	fail atomic.Bool

	mu   sync.Mutex
	hang chan struct{} // closed when reads no longer hang; nil: they do not hang
}

func newFlaky() *flaky { return new(flaky) }

func (f *flaky) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang == nil {
		f.hang = make(chan struct{})
	}
}

func (f *flaky) letGo() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang != nil {
		close(f.hang)
		f.hang = nil
	}
}

var errOutage = errors.New("soak: the index is down")

func (f *flaky) Get(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	if f.fail.Load() {
		return indexsource.Document{}, false, errOutage
	}
	if id.Account == hanging {
		f.mu.Lock()
		hang := f.hang
		f.mu.Unlock()
		done := ctx.Done()
		if strings.HasSuffix(id.Name, "0") {
			done = nil
		}
		if hang != nil {
			select {
			case <-hang:
			case <-done:
				return indexsource.Document{}, false, ctx.Err()
			}
		}
	}
	return f.Memory.Get(ctx, id)
}
