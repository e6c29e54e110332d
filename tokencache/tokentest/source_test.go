package tokentest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

const name = "elastic/fleet-server/token1"

func TestSourceMoods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		kit := tokentest.New(t, tokencache.Config{LoadTimeout: time.Minute}, &src)
		token := tokentest.NewToken(t, name, "")
		outage := errors.New("outage")
		authenticate := func() (tokencache.Verdict[string], error) {
			return kit.Caches[0].AuthenticateToken(t.Context(), token)
		}

		src.SetError(outage)
		if _, err := authenticate(); !errors.Is(err, outage) {
			t.Errorf("SetError: got %v, want %v", err, outage)
		}
		src.SetError(nil)
		src.SetPanic("boom")
		if _, err := authenticate(); err == nil || errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("SetPanic: got %v, want an error that is no refusal", err)
		}
		src.SetPanic(nil)
		src.SetLatency(2 * time.Minute)
		if _, err := authenticate(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a latency above the timeout: got %v, want DeadlineExceeded", err)
		}
		src.SetLatency(time.Second)
		if _, err := authenticate(); !errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("an empty source: got %v, want ErrRefused", err)
		}
		src.Put(token, "record")
		began := time.Now()
		if v, err := authenticate(); err != nil || v.Record != "record" || time.Since(began) != time.Second {
			t.Errorf("a latency of 1s: got %v, %v after %v", v, err, time.Since(began))
		}
		src.PutAnswer(token.ID(), answer{Held: true, Disabled: true, Verify: token.Secret().Equal})
		if _, err := authenticate(); !errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("disabled: got %v, want ErrRefused", err)
		}
		if got, all := src.Reads(token.ID()), src.Reads(); got != 6 || all != 6 {
			t.Errorf("got %d reads of the token and %d in all, want 6 and 6", got, all)
		}
		kit.Caches[0].Close()
		if err := kit.Caches[0].Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := src.Subscribers(); got != 0 {
			t.Errorf("got %d subscribers after Close, want none", got)
		}
	})
}

// TestHoldAwait is outside a bubble, where nothing else says when a load waits.
func TestHoldAwait(t *testing.T) {
	var src source
	hold := src.Hold()
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := src.Lookup(t.Context(), tokencache.TokenID{})
			done <- err
		}()
	}
	if err := hold.Await(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Errorf("a Lookup returned %v before Release", err)
	default:
	}
	hold.Release()
	hold.Release()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	gone, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if err := hold.Await(gone, 3); !errors.Is(err, cause) {
		t.Errorf("Await with a context that is done: got %v, want %v", err, cause)
	}
}

func TestWriteFile(t *testing.T) {
	good, other := tokentest.NewToken(t, name, ""), tokentest.NewToken(t, "elastic/fleet-server/token2", "not-random")
	file, err := filesource.Open(tokentest.WriteFile(t, good, other), filesource.Config{Poll: -1, Rest: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	kit := tokentest.New(t, tokencache.Config{}, file)
	for _, token := range []tokencache.Token{good, other} {
		if _, err := kit.Group.Authenticate(t.Context(), tokentest.Authorization(token)); err != nil {
			t.Errorf("%s: got %v", token.ID(), err)
		}
	}
	wrong := tokentest.NewToken(t, name, "another-secret")
	if _, err := kit.Group.AuthenticateToken(t.Context(), wrong); !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("a wrong secret: got %v, want ErrRefused", err)
	}
}

func TestRecorder(t *testing.T) {
	var src source
	kit := tokentest.New(t, tokencache.Config{}, &src, new(source))
	token := tokentest.NewToken(t, name, "")
	src.Put(token, "record")
	if _, err := kit.Group.AuthenticateToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	loads, err := kit.Events.Await(t.Context(), 1, tokencache.EventLoad)
	if err != nil || len(loads) != 1 || loads[0].Token != token.ID() || loads[0].Cache != "source1" {
		t.Errorf("got %+v, %v, want one load", loads, err)
	}
	if _, err := kit.Evictor.Evict(t.Context(), "elastic", "fleet-server", "*"); err != nil {
		t.Fatal(err)
	}
	evictions := kit.Events.Events(tokencache.EventEviction)
	if len(evictions) != 2 || evictions[0].Cause != tokencache.CauseSource || evictions[1].Evicted["source1"] != 1 {
		t.Errorf("got %+v, want the eviction of Put and the one that was asked for", evictions)
	}
	if got := len(kit.Events.Events()); got != 3 {
		t.Errorf("got %d events, want 3", got)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := kit.Events.Await(gone, 9); !errors.Is(err, context.Canceled) || len(got) != 3 {
		t.Errorf("Await in vain: got %d events and error %v, want 3 and Canceled", len(got), err)
	}
}

// TestOverdueAtTheEnd: a bubble ends although a source takes longer than its loads may,
// for the kit closes its group and waits.
func TestOverdueAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src source
		kit := tokentest.New(t, tokencache.Config{LoadTimeout: time.Second}, &src)
		src.SetLatency(time.Hour)
		if _, err := kit.Group.AuthenticateToken(t.Context(), tokentest.NewToken(t, name, "")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
	})
}
