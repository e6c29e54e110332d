package tokenhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhttp"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

var fleet = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

func Example() {
	var source tokentest.Source[string] // or a filesource.File, or an indexsource.Source
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "file", &source, tokencache.Config{}); err != nil {
		fmt.Println(err)
	}

	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verdict, _ := tokenhttp.Verdict(r.Context())
		fmt.Fprintln(w, "hello", verdict.Token.Account)
	})
	handler := tokenhttp.Wrap(group, app, tokenhttp.Config{})

	token, err := tokencache.NewToken(fleet.TokenID("token1"), tokencache.GenerateSecret())
	if err != nil {
		fmt.Println(err)
	}
	source.Put(token, "the record")
	request := httptest.NewRequest("GET", "/", nil)
	for _, authorization := range []string{"", tokentest.Authorization(token)} {
		request.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request)
		fmt.Print(w.Code, " ", w.Header().Get("WWW-Authenticate"), " ", w.Body)
	}
	// Output:
	// 401 Bearer realm="security" Unauthorized
	// 200  hello elastic/fleet-server
}

// A server that knows users by Basic authentication, too.
func ExampleConfig() {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	users := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, ok := r.BasicAuth(); !ok || name != "operator" || password != "changeme" {
			w.Header().Set("WWW-Authenticate", `Basic realm="security"`)
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		app.ServeHTTP(w, r)
	})
	handler := tokenhttp.Wrap(group, app, tokenhttp.Config{
		Other:      users,
		Challenges: []string{`Basic realm="security"`},
	})

	request := httptest.NewRequest("GET", "/", nil)
	request.SetBasicAuth("operator", "changeme")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, request)
	fmt.Print(w.Code, " ", w.Body)
	// Output: 200 hello
}

// A handler's own test needs no token.
func ExampleWithVerdict() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		verdict, ok := tokenhttp.Verdict(r.Context())
		fmt.Println(verdict.Token, ok)
	}
	ctx := tokenhttp.WithVerdict(context.Background(), tokencache.Verdict[any]{Token: fleet.TokenID("token1")})
	handler(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	// Output: elastic/fleet-server/token1 true
}

// A proxy that sends the token on to the next server keeps the header.
func ExampleConfig_keepHeader() {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Header.Get("Authorization") != "") })
	handler := tokenhttp.Wrap(group, next, tokenhttp.Config{Realm: "proxy", KeepHeader: true})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer realm="proxy"
}

// What is to happen before or after each authentication stands before the group.
func ExampleAuthenticator() {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	var counted tokenhttp.Authenticator = &counting{Group: group}
	handler := tokenhttp.Wrap(counted, app, tokenhttp.Config{})
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	fmt.Println(counted.(*counting).calls.Load())
	// Output: 1
}

type counting struct {
	*tokencache.Group
	calls atomic.Int32
}

func (c *counting) Authenticate(ctx context.Context, authorization string) (tokencache.Verdict[any], error) {
	c.calls.Add(1)
	return c.Group.Authenticate(ctx, authorization)
}
