package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/svctoken/svctoken/examples/authserver/server"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetnats"
	"github.com/svctoken/svctoken/fleet/fleetnats/natstest"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// A whole is a host that is the server of examples/authserver, with the log and the
// counters that an operator sees.
type whole struct {
	*host
	url     string
	bearers []string // of good callers
}

// newWhole starts a server, which run runs until the context is done.
func newWhole(t *testing.T, run func(ctx context.Context, o server.Options) error) *whole {
	t.Helper()
	w := &whole{host: &host{t: t, log: new(output)}}
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx = ctx
	var out output
	ready, ended := make(chan string, 1), make(chan error, 1)
	o := server.Options{
		Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0", File: filepath.Join(t.TempDir(), "service_tokens"), Poll: time.Second, TTL: 2 * time.Second,
		Admin: "ada:password", Accounts: account.String(), Out: &out, Log: w.log, Ready: func(url string) { ready <- url },
	}
	go func() { ended <- run(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		w.callers.Wait()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case w.url = <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	w.address = regexp.MustCompile(`Metrics on http://(\S+)/metrics`).FindStringSubmatch(out.tail())[1]
	return w
}

// do sends a request, and returns the status and the body.
func (w *whole) do(method, path, bearer string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, w.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	r.SetBasicAuth("ada", "password")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

func (w *whole) createToken(name string) (bearer string, err error) {
	status, body, err := w.do("POST", "/_security/service/"+account.String()+"/credential/token/"+name, "")
	if err != nil {
		return "", err
	}
	var created struct{ Token struct{ Value string } }
	if err := json.Unmarshal(body, &created); err != nil || status != http.StatusOK {
		return "", errors.Join(err, errors.New(string(body)))
	}
	return created.Token.Value, nil
}

// serve creates five good tokens, and starts their callers.
func (w *whole) serve() {
	w.t.Helper()
	for i := range 5 {
		var bearer string
		for began := time.Now(); bearer == ""; time.Sleep(100 * time.Millisecond) { // a node must join first
			var err error
			if bearer, err = w.createToken("token" + strconv.Itoa(i)); err != nil && time.Since(began) > time.Minute {
				w.t.Fatal(err)
			}
		}
		w.bearers = append(w.bearers, bearer)
	}
	w.every(100*time.Millisecond, func() { w.do("GET", "/_security/_authenticate", w.bearers[rand.IntN(len(w.bearers))]) })
}

// An sqlIndex is a database as the server needs it.
type sqlIndex struct{ *sqlindex.Index }

func (ix sqlIndex) Describe(context.Context) server.Description {
	st := ix.Status()
	return server.Description{Kind: "SQLite", Revision: strconv.FormatInt(st.Rev, 10), Polled: st.Polled, Err: st.Err}
}

// fullDisk is a server whose database gets no more pages: an operator's changes fail.
func fullDisk(t *testing.T) (*host, func()) {
	_, db, index := openDatabase(t, slog.New(slog.DiscardHandler), 100)
	w := newWhole(t, func(ctx context.Context, o server.Options) error { return server.Run(ctx, o, sqlIndex{index}) })
	w.serve()
	return w.host, func() {
		if _, err := db.ExecContext(w.ctx, "CREATE TABLE others (content)"); err != nil {
			t.Error(err)
		}
		for err := error(nil); err == nil; {
			_, err = db.ExecContext(w.ctx, "INSERT INTO others VALUES (zeroblob(4000))")
		}
		for i := range 100 { // the pages of a token's rows have some room
			if _, err := w.createToken("more" + strconv.Itoa(i)); err != nil {
				return
			}
		}
		t.Error("the disk does not get full")
	}
}

// natsGone is a server whose index and whose lease are in NATS, which ends.
func natsGone(t *testing.T) (*host, func()) {
	cluster, err := natstest.Start(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	w := newWhole(t, func(ctx context.Context, o server.Options) error {
		nc, err := nats.Connect(cluster.URL(0), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
		if err != nil {
			return err
		}
		defer nc.Close()
		log, err := fleetnats.Open(ctx, nc, fleetnats.Config{Bucket: "svctoken", Replicas: 1})
		if err != nil {
			return err
		}
		return server.RunFleet(ctx, o, server.Fleet{Log: log, Kind: "NATS JetStream", Config: fleet.Config{Lease: lease}})
	})
	w.serve()
	return w.host, func() { cluster.StopServer(0) }
}
