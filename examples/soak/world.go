package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A world is a group of two caches with good tokens and with victims.
type world struct {
	group  *tokencache.Group
	file   *indexsource.Memory // stands for the file
	index  *flaky
	secret tokencache.Secret
	hash   indexsource.Hash // of the secret; all tokens share it, as making one takes as long as checking it
	fresh  int              // how many of the fresh tokens have been used
}

const (
	cachedTokens = 200
	goodAccounts = 20
	freshTokens  = 50_000 // used once each
)

var (
	victim  = tokencache.Account{Namespace: "victims", Service: "one"}
	rotated = tokencache.Account{Namespace: "good", Service: "rotated"}
)

func goodAccount(i int) tokencache.Account {
	return tokencache.Account{Namespace: "good", Service: fmt.Sprintf("service-%d", i%goodAccounts)}
}

func newWorld() (*world, error) {
	w := &world{
		group: tokencache.NewGroup(tokencache.GroupConfig{}),
		file:  new(indexsource.Memory), index: new(flaky),
		secret: tokencache.GenerateSecret(),
	}
	w.hash = indexsource.HashSecret(w.secret)
	for i := range cachedTokens {
		if err := w.file.Put(w.document(goodAccount(i).TokenID(fmt.Sprintf("cached-%d", i)))); err != nil {
			return nil, err
		}
	}
	for i := range freshTokens {
		if err := w.index.Put(w.document(goodAccount(i).TokenID(fmt.Sprintf("fresh-%d", i)))); err != nil {
			return nil, err
		}
	}
	for i := range 100 {
		if err := w.index.Put(w.document(victim.TokenID(fmt.Sprintf("t-%d", i)))); err != nil {
			return nil, err
		}
	}
	if _, err := tokencache.New(w.group, "file", indexsource.New(w.file), tokencache.Config{}); err != nil {
		return nil, err
	}
	if _, err := tokencache.New(w.group, "index", indexsource.New(w.index), tokencache.Config{LoadTimeout: 2 * time.Second}); err != nil {
		return nil, err
	}
	return w, w.warm()
}

// warm has the cached tokens remembered, which takes a hash each.
func (w *world) warm() error {
	var warming errgroup.Group
	warming.SetLimit(runtime.GOMAXPROCS(0))
	for i := range cachedTokens {
		warming.Go(func() error {
			return w.authenticate(context.Background(), goodAccount(i).TokenID(fmt.Sprintf("cached-%d", i)), w.secret)
		})
	}
	return warming.Wait()
}

func (w *world) document(id tokencache.TokenID) indexsource.Document {
	return indexsource.Document{Token: id, Created: time.Now(), Creator: "soak", Enabled: true, Hash: w.hash}
}

func (w *world) authenticate(ctx context.Context, id tokencache.TokenID, secret tokencache.Secret) error {
	token, err := tokencache.NewToken(id, secret)
	if err != nil {
		return err
	}
	_, err = w.group.Authenticate(ctx, "Bearer "+token.RevealBearer())
	return err
}

func (w *world) close(ctx context.Context) error {
	w.index.hang.Store(false)
	w.group.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return w.group.Wait(ctx)
}

// A flaky is an index whose reads of the victim's tokens can hang, and all of whose
// reads can fail.
type flaky struct {
	indexsource.Memory
	hang, fail atomic.Bool
}

var errOutage = errors.New("soak: the index is down")

func (f *flaky) Get(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	if f.fail.Load() {
		return indexsource.Document{}, false, errOutage
	}
	if id.Account == victim && f.hang.Load() {
		<-ctx.Done()
		return indexsource.Document{}, false, ctx.Err()
	}
	return f.Memory.Get(ctx, id)
}

// long is the header of a token with a secret of 700 kB.
var long = func() string {
	token, err := tokencache.NewToken(victim.TokenID("t-1"), tokencache.NewSecret(strings.Repeat("x", 700_000)))
	if err != nil {
		panic(err) // the name is valid
	}
	return "Bearer " + token.RevealBearer()
}()
