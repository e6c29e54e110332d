package tokentest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// A source under control counts how often it is read.
func Example() {
	var src tokentest.Source[string]
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "test", &src, tokencache.Config{}); err != nil {
		fmt.Println(err)
	}
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	token, err := tokencache.NewToken(account.TokenID("token1"), tokencache.GenerateSecret())
	if err != nil {
		fmt.Println(err)
	}
	src.Put(token, "the record")
	for range 3 {
		group.AuthenticateToken(context.Background(), token)
	}
	fmt.Println(src.Reads(token.ID()), "read")
	// Output: 1 read
}

// An expiry, in a bubble, where an hour takes no time.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src tokentest.Source[string]
		kit := tokentest.New(t, tokencache.Config{TTL: time.Hour}, &src)
		token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
		src.Put(token, "the record")
		kit.Group.AuthenticateToken(t.Context(), token)
		time.Sleep(time.Hour)
		kit.Group.AuthenticateToken(t.Context(), token)
		if got := src.Reads(); got != 2 {
			t.Errorf("got %d reads, want 2: the second after the expiry", got)
		}
	})
}

// A load is in flight when its token is revoked: what it brings must not be stored.
func TestEvictionDuringLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src tokentest.Source[string]
		kit := tokentest.New(t, tokencache.Config{}, &src)
		token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
		src.Put(token, "the record")

		hold := src.Hold()
		early := make(chan error, 1)
		go func() {
			_, err := kit.Caches[0].AuthenticateToken(t.Context(), token)
			early <- err
		}()
		synctest.Wait() // the load has read the token
		src.SetQuiet(true)
		src.Remove(token.ID())
		if _, err := kit.Evictor.Evict(t.Context(), "elastic", "fleet-server", "token1"); err != nil {
			t.Fatal(err)
		}
		hold.Release()
		if err := <-early; err != nil {
			t.Errorf("who came before the eviction: got %v, want a verdict", err)
		}
		if _, err := kit.Group.Authenticate(t.Context(), tokentest.Authorization(token)); !errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("who came after the eviction: got %v, want ErrRefused", err)
		}
	})
}

// Sources that fail, take their time, panic, and hold tokens which must not be used.
func ExampleSource() {
	var src tokentest.Source[string]
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	cache, err := tokencache.New(group, "test", &src, tokencache.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	token, err := tokencache.NewToken(account.TokenID("token1"), tokencache.GenerateSecret())
	if err != nil {
		fmt.Println(err)
		return
	}
	reason := func() tokencache.Reason {
		_, err := group.AuthenticateToken(context.Background(), token)
		if refused, ok := errors.AsType[*tokencache.RefusedError](err); ok {
			return refused.Reason
		}
		failed, _ := errors.AsType[*tokencache.NoAnswerError](err)
		return failed.Reason
	}
	src.SetError(errors.New("no route"))
	fmt.Println(reason())
	src.SetError(nil)
	src.SetPanic("a nil map")
	fmt.Println(reason())
	src.SetPanic(nil)
	src.SetLatency(time.Millisecond)
	src.PutAnswer(token.ID(), tokencache.Answer[string]{Held: true, Disabled: true, Verify: token.Secret().Equal})
	fmt.Println(reason())
	cache.Close()
	fmt.Println(cache.Wait(context.Background()), src.Subscribers())
	// Output:
	// source_failed
	// source_panicked
	// disabled
	// <nil> 0
}

// Outside a bubble, Await says when lookups wait.
func ExampleHold() {
	var src tokentest.Source[string]
	var hold *tokentest.Hold = src.Hold()
	done := make(chan error)
	go func() {
		_, err := src.Lookup(context.Background(), tokencache.TokenID{})
		done <- err
	}()
	fmt.Println(hold.Await(context.Background(), 1), src.Reads())
	hold.Release()
	fmt.Println(<-done)
	// Output:
	// <nil> 1
	// <nil>
}

func ExampleRecorder() {
	var events tokentest.Recorder
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: events.Observe})
	defer group.Close()
	group.Clear(context.Background())
	cleared, err := events.Await(context.Background(), 1, tokencache.EventEviction)
	fmt.Println(cleared[0].Cause, err, len(events.Events(tokencache.EventLoad)))
	// Output: asked <nil> 0
}

// A service_tokens file for a test. WriteFile writes the text of ServiceTokens.
func ExampleWriteFile() {
	_ = func(t *testing.T) {
		token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
		path := tokentest.WriteFile(t, token)
		t.Log(path, "has", tokentest.ServiceTokens(token))
	}
}

func ExampleRunSource() {
	_ = func(t *testing.T) { // in the place of func TestFile(t *testing.T)
		tokentest.RunSource(t, func(t testing.TB) (tokencache.Source[filesource.Record], tokentest.Backend) {
			file, err := filesource.Open(t.TempDir()+"/service_tokens", filesource.Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(file.Close)
			return file, tokentest.Backend{Create: file.Create, Delete: file.Delete}
		})
	}
}

func ExampleRunIndex() {
	_ = func(t *testing.T) { // in the place of func TestMemory(t *testing.T)
		tokentest.RunIndex(t, func(t testing.TB) (indexsource.Index, tokentest.Backend) {
			index := new(indexsource.Memory)
			return index, tokentest.Backend{
				Create: func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
					return index.Create(ctx, id, "operator")
				},
				Delete: index.Delete,
			}
		})
	}
}

// A faulty source can be made to fail and to hang, and keeps a password hash.
type faulty struct {
	tokencache.Source[filesource.Record]
	failing, hanging atomic.Bool
}

func (f *faulty) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[filesource.Record], error) {
	if f.hanging.Load() {
		<-ctx.Done()
	}
	if f.failing.Load() || ctx.Err() != nil {
		return tokencache.Answer[filesource.Record]{}, errors.New("no answer")
	}
	return f.Source.Lookup(ctx, id)
}

// What a Backend cannot do is left out, and the property skipped: here no token can
// be disabled.
func ExampleBackend() {
	_ = func(t *testing.T) { // in the place of func TestFaulty(t *testing.T)
		tokentest.RunSource(t, func(t testing.TB) (tokencache.Source[filesource.Record], tokentest.Backend) {
			path := t.TempDir() + "/service_tokens"
			file, err := filesource.Open(path, filesource.Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(file.Close)
			f := &faulty{Source: file}
			return f, tokentest.Backend{
				Create: file.Create, Delete: file.Delete,
				SetFailing: f.failing.Store,
				SetHanging: f.hanging.Store,
				Hidden: func() []string { // the hash of each line
					text, _ := os.ReadFile(path)
					var hashes []string
					for line := range strings.Lines(string(text)) {
						_, hash, _ := strings.Cut(strings.TrimSpace(line), ":")
						hashes = append(hashes, hash)
					}
					return hashes
				},
				Untold:   false, // the file's caches hear of each change
				Patience: 20 * time.Second,
			}
		})
	}
}

func ExampleNew() {
	_ = func(t *testing.T) {
		var src tokentest.Source[string]
		var kit *tokentest.Kit[string] = tokentest.New(t, tokencache.Config{}, &src)
		report, err := kit.Evictor.Evict(t.Context(), "elastic", "fleet-server", "*")
		t.Log(report.Total(), err, kit.Caches[0].Name(), len(kit.Events.Events()))
	}
}
