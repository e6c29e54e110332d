// Command overhttp measures what authentication costs a real server: the processor's
// time that the server's process takes for a request, above that of a handler which
// authenticates nobody. The server is a process of its own, so that the client's time
// does not count. Servers take turns, and the best round of each counts.
//
//	go run -C internal/harness ./peers/overhttp
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
	"github.com/svctoken/svctoken/tokencache/tokenhttp"
)

var (
	rounds   = flag.Int("rounds", 7, "how many rounds")
	requests = flag.Int("requests", 20000, "how many requests a round has of each server")
	serve    = flag.String("serve", "", "for the program itself: be this server")
)

const secret = "a-secret-of-22-bytes.."

// A contestant is a way to authenticate.
type contestant struct {
	name string
	wrap func(next http.Handler) http.Handler

	// alone is for servers without a cache: callers with the same token would share one
	// load, so there is one at a time, and a hundredth of the requests will do.
	alone bool
}

var contestants = []contestant{
	{"nobody is authenticated", func(next http.Handler) http.Handler { return next }, false},
	{"`Group.Authenticate`", func(next http.Handler) http.Handler { return direct(newGroup(tokencache.Config{}), next) }, false},
	{"`tokenhttp.Wrap`, `KeepHeader`", func(next http.Handler) http.Handler {
		return tokenhttp.Wrap(newGroup(tokencache.Config{}), next, tokenhttp.Config{KeepHeader: true})
	}, false},
	{"`tokenhttp.Wrap`", func(next http.Handler) http.Handler {
		return tokenhttp.Wrap(newGroup(tokencache.Config{}), next, tokenhttp.Config{})
	}, false},
	{"a map with an RWMutex, keyed by SHA-256", byMap, false},
	{"Kubernetes' token cache", byKubernetes, false},
	{"no cache, fast hash", func(next http.Handler) http.Handler {
		return direct(newGroup(tokencache.Config{TTL: -1}), next)
	}, true},
	{"no cache, stretched hash", func(next http.Handler) http.Handler {
		stretched = true
		return direct(newGroup(tokencache.Config{TTL: -1}), next)
	}, true},
}

var stretched bool

func token() tokencache.Token {
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	token, err := tokencache.NewToken(id, tokencache.NewSecret(secret))
	if err != nil {
		log.Fatal(err)
	}
	return token
}

// A table is a source with one token.
type table struct{ hash tokenhash.Hash }

func (t table) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[string], error) {
	return tokencache.Answer[string]{Held: true, Record: "record", Verify: t.hash.Verify, Fast: t.hash.Fast()}, nil
}

func (t table) Subscribe(tokencache.Invalidator) (cancel func()) { return func() {} }

func newGroup(cfg tokencache.Config) *tokencache.Group {
	hash := tokenhash.New(token().Secret())
	if stretched {
		hash = tokenhash.Stretched(token().Secret())
	}
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	if _, err := tokencache.New(group, "table", table{hash}, cfg); err != nil {
		log.Fatal(err)
	}
	return group
}

func direct(group *tokencache.Group, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := group.Authenticate(r.Context(), r.Header.Get("Authorization")); err != nil {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func byMap(next http.Handler) http.Handler {
	var mu sync.RWMutex
	known := map[[32]byte]string{sha256.Sum256([]byte(token().RevealBearer())): "record"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		key := sha256.Sum256([]byte(bearer))
		mu.RLock()
		_, found := known[key]
		mu.RUnlock()
		if !ok || !found {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func byKubernetes(next http.Handler) http.Handler {
	want := token().RevealBearer()
	tokens := cache.New(authenticator.TokenFunc(func(_ context.Context, bearer string) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "record"}}, bearer == want, nil
	}), true, 10*time.Minute, time.Minute)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if _, ok, err := tokens.AuthenticateToken(r.Context(), bearer); err != nil || !ok {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// be is the server's process: it says where it listens, and at each line of its input
// how much of the processor's time it has had.
func be(name string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	for _, c := range contestants {
		if c.name == name {
			go http.Serve(listener, c.wrap(ok))
		}
	}
	fmt.Println(listener.Addr())
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			return err
		}
		fmt.Println(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return input.Err()
}

// A server is such a process, and a client's connections to it.
type server struct {
	contestant
	in    io.Writer
	out   *bufio.Reader
	conns []net.Conn
	best  time.Duration // of a request
}

const connections = 8

func start(c contestant) (*server, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-serve", c.name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil { // it ends with its input
		return nil, err
	}
	s := &server{contestant: c, in: in, out: bufio.NewReader(out), best: time.Hour}
	address, err := s.out.ReadString('\n')
	if err != nil {
		return nil, err
	}
	for len(s.conns) == 0 || !c.alone && len(s.conns) < connections {
		conn, err := net.Dial("tcp", strings.TrimSpace(address))
		if err != nil {
			return nil, err
		}
		s.conns = append(s.conns, conn)
	}
	return s, nil
}

func (s *server) used() (time.Duration, error) {
	if _, err := fmt.Fprintln(s.in); err != nil {
		return 0, err
	}
	var used time.Duration
	_, err := fmt.Fscanln(s.out, (*int64)(&used))
	return used, err
}

// round sends the requests, and notes what one took if it is the least until now.
func (s *server) round(n int) error {
	if s.alone {
		n /= 100
	}
	before, err := s.used()
	if err != nil {
		return err
	}
	request := []byte("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer " + token().RevealBearer() + "\r\n\r\n")
	errs := make([]error, len(s.conns))
	var clients sync.WaitGroup
	for i, conn := range s.conns {
		clients.Go(func() { errs[i] = send(conn, request, n/len(s.conns)) })
	}
	clients.Wait()
	after, err := s.used()
	s.best = min(s.best, (after-before)/time.Duration(n/len(s.conns)*len(s.conns)))
	return errors.Join(append(errs, err)...)
}

func send(conn net.Conn, request []byte, n int) error {
	answer := make([]byte, 1024)
	for range n {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		k, err := conn.Read(answer)
		if err != nil || !strings.HasPrefix(string(answer[:k]), "HTTP/1.1 200") {
			return fmt.Errorf("%q, %w", answer[:k], err)
		}
	}
	return nil
}

func run() error {
	var servers []*server
	for _, c := range contestants {
		s, err := start(c)
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	for range *rounds {
		for _, s := range servers {
			if err := s.round(*requests); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	fmt.Print("| server | processor time of a request | above the first |\n| --- | --- | --- |\n")
	for _, s := range servers {
		fmt.Printf("| %s | %.1f µs | %.1f µs |\n", s.name, float64(s.best.Nanoseconds())/1000, float64((s.best-servers[0].best).Nanoseconds())/1000)
	}
	return nil
}

func main() {
	flag.Parse()
	work := run
	if *serve != "" {
		work = func() error { return be(*serve) }
	}
	if err := work(); err != nil {
		log.Fatal(err)
	}
}
