//go:build linux

package processes_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetnats"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// An answer is a node's answer about a token.
type answer struct {
	Outcome string // confirmed, refused, or none
	Read    int64  // of a stamped token: when the read of the source began, by the shared clock
	Version int    // of a document, or a generation
	Why     string // there is none
}

// A done is the outcome of a change.
type done struct {
	Err  string // empty: it returned without an error
	Kept bool   // the node had one session all the while
	Took int64  // nanoseconds from the log's acknowledgement to the return
}

// A nodeState is a node's condition.
type nodeState struct {
	Serving  bool
	Sessions int64
	Last     string // why the last session ended
}

// stamps is a source that has every token whose name begins with s, and reports no
// changes. Its record is the time of the read.
type stamps struct{ secret tokencache.Secret }

func (s stamps) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[int64], error) {
	read := monotonic()
	if !strings.HasPrefix(id.Name, "s") {
		return tokencache.Answer[int64]{}, nil
	}
	return tokencache.Answer[int64]{Held: true, Record: read, Verify: s.secret.Equal}, nil
}

func (stamps) Subscribe(tokencache.Invalidator) (cancel func()) { return func() {} }

// A generation is the record of the token with generations.
type generation int

// generations is a source that has one token, and its record in a file, which it reads
// each time.
type generations struct {
	secret tokencache.Secret
	file   string
}

func (s generations) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[generation], error) {
	if id.Name != generational {
		return tokencache.Answer[generation]{}, nil
	}
	text, err := os.ReadFile(s.file)
	if err != nil {
		return tokencache.Answer[generation]{}, err
	}
	number, err := strconv.Atoi(string(text))
	return tokencache.Answer[generation]{Held: true, Record: generation(number), Verify: s.secret.Equal}, err
}

func (generations) Subscribe(tokencache.Invalidator) (cancel func()) { return func() {} }

// A timed log records when it has acknowledged the last eviction.
type timed struct {
	fleetlog.Log
	acked atomic.Int64
}

func (e *timed) Append(ctx context.Context, entry fleetlog.Entry) (fleetlog.Position, error) {
	pos, err := e.Log.Append(ctx, entry)
	if err == nil && strings.HasPrefix(entry.Key, "evict.") && !bytes.Contains(entry.Value, []byte(`"names":"x`)) && !bytes.Contains(entry.Value, []byte(`"names":"`+generational)) {
		e.acked.Store(monotonic())
	}
	return pos, err
}

// A host is a node, its caches, and the routes over which the checker asks.
type host struct {
	node     *fleet.Node
	group    *tokencache.Group
	log      *timed
	secret   tokencache.Secret
	hash     tokenhash.Hash
	sessions atomic.Int64
	last     atomic.Pointer[string]
}

func runNode(c config, l net.Listener) error {
	h, err := newHost(c)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /auth/{name}", h.authenticate)
	mux.HandleFunc("POST /evict/{names}", h.evict)
	mux.HandleFunc("POST /turned", h.turned)
	mux.HandleFunc("POST /put/{name}/{version}", h.put)
	mux.HandleFunc("POST /delete/{name}", h.delete)
	mux.HandleFunc("POST /flood", h.flood)
	mux.HandleFunc("GET /state", h.state)
	return http.Serve(l, mux)
}

func newHost(c config) (*host, error) {
	secret := tokencache.NewSecret(c.Node.Secret)
	h := &host{secret: secret, hash: tokenhash.New(secret), group: tokencache.NewGroup(tokencache.GroupConfig{})}
	if _, err := tokencache.New(h.group, "stamps", stamps{secret}, tokencache.Config{}); err != nil {
		return nil, err
	}
	if _, err := tokencache.New(h.group, "generations", generations{secret, c.Node.Generation}, tokencache.Config{}); err != nil {
		return nil, err
	}
	nc, err := nats.Connect("nats://"+strings.Join(c.Node.Servers, ",nats://"), nats.DontRandomize(), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond), nats.ReconnectJitter(50*time.Millisecond, 0), nats.RetryOnFailedConnect(true),
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(time.Second))
	if err != nil {
		return nil, err
	}
	log, err := open(nc)
	if err != nil {
		return nil, err
	}
	h.log = &timed{Log: log}
	h.node, err = fleet.New(h.log, h.group, fleet.Config{Lease: c.Node.Lease, Name: c.Name, Observer: h.observe})
	if err != nil {
		return nil, err
	}
	_, err = tokencache.New(h.group, "index", indexsource.New(h.node.Index()), tokencache.Config{})
	return h, err
}

// open opens the log as soon as it exists: the servers may be down when the node starts.
func open(nc *nats.Conn) (*fleetnats.Log, error) {
	for began := time.Now(); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		log, err := fleetnats.Open(ctx, nc, fleetnats.Config{Bucket: bucket, Existing: true})
		cancel()
		if err == nil || time.Since(began) > time.Minute {
			return log, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (h *host) observe(e fleet.Event) {
	if e.Kind == fleet.EventServing || e.Kind == fleet.EventStopped {
		h.sessions.Add(1)
	}
	if e.Kind != fleet.EventApplied && e.Kind != fleet.EventRenewed {
		why := fmt.Sprintf("%v at %d: %v", e.Kind, e.Position, e.Err)
		h.last.Store(&why)
		fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.StampMilli), why)
	}
}

func (h *host) authenticate(w http.ResponseWriter, r *http.Request) {
	token, err := tokencache.NewToken(account.TokenID(r.PathValue("name")), h.secret)
	if err != nil {
		reply(w, nil, err)
		return
	}
	verdict, err := h.group.AuthenticateToken(r.Context(), token)
	var a answer
	switch {
	case err == nil:
		a.Outcome = "confirmed"
		switch record := verdict.Record.(type) {
		case int64:
			a.Read = record
		case generation:
			a.Version = int(record)
		case indexsource.Document:
			a.Version, _ = strconv.Atoi(record.Creator)
		}
	case errors.Is(err, tokencache.ErrRefused):
		a.Outcome = "refused"
	default:
		a = answer{Outcome: "none", Why: err.Error()}
	}
	reply(w, a, nil)
}

// change makes a change, and returns its outcome.
func (h *host) change(w http.ResponseWriter, r *http.Request, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	sessions, serving := h.sessions.Load(), h.node.Status().Serving
	err := do(ctx)
	d := done{Kept: serving && sessions == h.sessions.Load()}
	if acked := h.log.acked.Load(); acked != 0 { // of an eviction: there is one at a time
		d.Took = monotonic() - acked
	}
	if err != nil {
		d.Err = err.Error()
	}
	reply(w, d, nil)
}

func (h *host) evict(w http.ResponseWriter, r *http.Request) {
	h.change(w, r, func(ctx context.Context) error {
		h.log.acked.Store(0)
		_, err := h.node.Evict(ctx, account.Namespace, account.Service, r.PathValue("names"))
		return err
	})
}

// turned evicts the token with generations.
func (h *host) turned(w http.ResponseWriter, r *http.Request) {
	h.change(w, r, func(ctx context.Context) error {
		_, err := h.node.Evict(ctx, account.Namespace, account.Service, generational)
		return err
	})
}

func (h *host) put(w http.ResponseWriter, r *http.Request) {
	h.change(w, r, func(ctx context.Context) error {
		return h.node.Index().Put(ctx, indexsource.Document{
			Token: account.TokenID(r.PathValue("name")), Creator: r.PathValue("version"), Enabled: true, Hash: h.hash,
		})
	})
}

func (h *host) delete(w http.ResponseWriter, r *http.Request) {
	h.change(w, r, func(ctx context.Context) error {
		return h.node.Index().Delete(ctx, account.TokenID(r.PathValue("name"))) // if there is none: a write before, whose outcome is unknown, may still arrive
	})
}

// flood evicts some tokens that no client uses, and does not wait.
func (h *host) flood(w http.ResponseWriter, r *http.Request) {
	for i := range 5 {
		go h.node.Evict(context.Background(), account.Namespace, account.Service, fmt.Sprint("x", i))
	}
	reply(w, done{}, nil)
}

func (h *host) state(w http.ResponseWriter, _ *http.Request) {
	state := nodeState{Serving: h.node.Status().Serving, Sessions: h.sessions.Load()}
	if last := h.last.Load(); last != nil {
		state.Last = *last
	}
	reply(w, state, nil)
}
