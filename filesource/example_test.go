package filesource_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	dir, err := os.MkdirTemp("", "svctoken")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	file, err := filesource.Open(filepath.Join(dir, "service_tokens"), filesource.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "file", file, tokencache.Config{}); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	token, err := file.Create(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := group.Authenticate(ctx, "Bearer "+token.RevealBearer())
	fmt.Println(verdict.Token, verdict.Record.(filesource.Record).Scheme, err)

	if err := file.Delete(ctx, id); err != nil {
		log.Fatal(err)
	}
	_, err = group.Authenticate(ctx, "Bearer "+token.RevealBearer())
	fmt.Println(err)
	// Output:
	// elastic/fleet-server/token1 PBKDF2_STRETCH <nil>
	// tokencache: token refused: elastic/fleet-server/token1: unknown_token
}

// The zero Config is the recommended setting. This one is for a file on a network
// share that others write to in place.
func ExampleConfig() {
	file, err := filesource.Open("testdata/service_tokens", filesource.Config{
		Poll:        10 * time.Second,
		Rest:        2 * time.Second, // others write slowly
		MaxBytes:    1 << 20,         // nobody has so many tokens here
		KeepMissing: time.Minute,     // the share is away at times
		FailClosed:  true,            // rather nobody than a token that is no longer there
		OnlyChanged: true,            // a change leaves the other tokens cached
		Logger:      slog.New(slog.DiscardHandler),
		OnReload: func(st filesource.Status) {
			if st.Missing || st.Err != nil || len(st.Warnings)+st.MoreWarnings > 0 {
				log.Print("somebody should look at the file")
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	// A host that is told of changes by something else may ask for a look.
	err = file.Reload()
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	fmt.Println(file.Status().Tokens, file.MayHold(id), err)
	// Output: 8 true <nil>
}

// A command rotates a token: servers that follow the file refuse the old secret and take
// the new one from one moment to the next.
func ExampleFile_Rotate() {
	dir, err := os.MkdirTemp("", "svctoken")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file, err := filesource.Open(filepath.Join(dir, "service_tokens"), filesource.Config{Poll: -1, FastHash: true})
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()

	ctx := context.Background()
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	_, err = file.Rotate(ctx, id)
	fmt.Println(errors.Is(err, tokencache.ErrNotFound))
	old, err := file.Create(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	token, err := file.Rotate(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := file.Lookup(ctx, id)
	fmt.Println(answer.Verify(old.Secret()), answer.Verify(token.Secret()), answer.Fast, err)
	// Output:
	// true
	// false true true <nil>
}

// A health check tells a file that is bad from a file system that does not answer.
func ExampleStatus() {
	file, err := filesource.Open("testdata/service_tokens", filesource.Config{
		KeepBad: time.Hour, // then no token of a bad file is accepted any more
	})
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	st := file.Status()
	switch {
	case st.Err != nil:
		fmt.Printf("not loaded for %v: %v\n", time.Since(st.Failing), st.Err)
	case time.Since(st.Looked) > time.Minute:
		fmt.Println("nobody looks at the file")
	default:
		fmt.Println(st.Tokens, "tokens")
	}
	// Output: 8 tokens
}

func ExampleFormatError() {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("service_tokens-%d", os.Getpid()))
	if err := os.WriteFile(path, []byte("a/b/c:{PBKDF2}7$x$y\nno colon\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	defer os.Remove(path)
	_, err := filesource.Open(path, filesource.Config{})
	if bad, ok := errors.AsType[*filesource.FormatError](err); ok {
		show := func(line filesource.LineError) { fmt.Println(line.Line, line.Token, line.Rule) }
		for _, line := range bad.Lines {
			show(line)
		}
		fmt.Println(bad.More, "more")
	}
	// Output:
	// 1 a/b/c the cost of a PBKDF2 hash must be 1000, 10000, 50000, 100000, 500000 or 1000000
	// 2  must be a qualified name, a colon and a hash; there is no colon
	// 0 more
}
