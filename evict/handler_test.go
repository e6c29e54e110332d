package evict_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
)

// authenticate knows operator, who may evict, root, who may do everything, and
// reader, who may not. The user outage cannot be looked up.
func authenticate(r *http.Request) (evict.User, bool, error) {
	name, password, ok := r.BasicAuth()
	switch {
	case name == "outage":
		return evict.User{}, false, errors.New("directory at 10.0.0.1 is down")
	case !ok || password != "password":
		return evict.User{}, false, nil
	case name == "operator":
		return evict.User{Name: name, Privileges: []string{"monitor", "manage_security"}}, true, nil
	case name == "root":
		return evict.User{Name: name, Privileges: []string{"all"}}, true, nil
	default:
		return evict.User{Name: name, Privileges: []string{"manage_service_account"}}, true, nil
	}
}

var handlerConfig = evict.HandlerConfig{
	ClusterName: "c", NodeID: "node-id", NodeName: "node-name",
	Header: http.Header{"X-Elastic-Product": {"Elasticsearch"}},
}

const route = "/_security/service/elastic/fleet-server/credential/token/"

func request(method, target, user, body string) *http.Request {
	var r *http.Request
	if body == "" {
		r = httptest.NewRequest(method, target, nil)
	} else {
		r = httptest.NewRequest(method, target, strings.NewReader(body))
	}
	if user != "" {
		r.SetBasicAuth(user, "password")
	}
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const doneBody = `{"_nodes":{"total":1,"successful":1,"failed":0},"cluster_name":"c","nodes":{"node-id":{"name":"node-name"}}}`

// TestHandlerEvicts sends the names in every spelling that Elasticsearch takes, and
// counts what stays of token1, token2 and token3.
func TestHandlerEvicts(t *testing.T) {
	for _, test := range []struct {
		name, path string
		left       int
	}{
		{"one", route + "token1/_clear_cache", 2},
		{"list", route + "token1,token2/_clear_cache", 1},
		{"encoded comma", route + "token1%2Ctoken2/_clear_cache", 1},
		{"encoded letter", route + "%74oken1/_clear_cache", 2},
		{"twice", route + "token1,token1/_clear_cache", 2},
		{"wildcard", route + "*/_clear_cache", 0},
		{"encoded wildcard", route + "%2A/_clear_cache", 0},
		{"empty", route + "/_clear_cache", 0},
		{"_all", route + "_all/_clear_cache", 0},
		{"trailing comma", route + "token1,/_clear_cache", 2},
		{"comma", route + ",/_clear_cache", 0},
		{"trailing slash", route + "token1/_clear_cache/", 2},
		{"unknown token", route + "nobody/_clear_cache", 3},
		{"unknown account", "/_security/service/no/body/credential/token/*/_clear_cache", 3},
		{"pretty", route + "token1/_clear_cache?human&error_trace=false", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, "elastic/fleet-server/token1", "elastic/fleet-server/token2", "elastic/fleet-server/token3")
			handler := evict.NewHandler(evict.New(h.group), authenticate, handlerConfig)
			w := serve(handler, request("POST", test.path, "operator", ""))
			if w.Code != 200 || w.Body.String() != doneBody {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			for name, want := range map[string]string{"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch", "X-Content-Type-Options": "nosniff"} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if got := h.entries(); got != [2]int{test.left, test.left} {
				t.Errorf("got %v entries left, want %d", got, test.left)
			}
		})
	}
}

// The rules as tokencache words them.
const (
	accountRule = "must be 1 to 128 of A-Z a-z 0-9 _ -, beginning with a letter or digit"
	tokenRule   = "must be 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _"
)

func TestHandlerRefuses(t *testing.T) {
	const good = route + "token1/_clear_cache"
	for _, test := range []struct {
		name, method, path, user, body string
		status                         int
		kind, reason                   string
	}{
		{"no credentials", "POST", good, "", "", 401, "security_exception", "missing authentication credentials for REST request [" + good + "]"},
		{"no credentials comes before a bad name", "POST", route + "_x/_clear_cache", "", "", 401, "security_exception", "missing authentication credentials for REST request [" + route + "_x/_clear_cache]"},
		{"a bad name comes before a missing privilege", "POST", route + "_x/_clear_cache", "reader", "", 400, "illegal_argument_exception", `name 1: invalid token name "_x": ` + tokenRule},
		{"no privilege", "POST", good, "reader", "", 403, "security_exception", "action [cluster:admin/xpack/security/cache/clear] is unauthorized for user [reader], this action is granted by the cluster privileges [manage_security,all]"},
		{"outage", "POST", good, "outage", "", 503, "security_exception", "the user cannot be authenticated at present"},
		{"bad namespace", "POST", "/_security/service/_x/fleet-server/credential/token/a/_clear_cache", "operator", "", 400, "illegal_argument_exception", `invalid namespace "_x": ` + accountRule},
		{"bad service", "POST", "/_security/service/elastic/a%20b/credential/token/a/_clear_cache", "operator", "", 400, "illegal_argument_exception", `invalid service "a b": ` + accountRule},
		{"no namespace", "POST", "/_security/service//fleet-server/credential/token/a/_clear_cache", "operator", "", 400, "illegal_argument_exception", `invalid namespace "": ` + accountRule},
		{"empty name", "POST", route + "a,,b/_clear_cache", "operator", "", 400, "illegal_argument_exception", "name 2: it is empty"},
		{"wildcard in a list", "POST", route + "a,*/_clear_cache", "operator", "", 400, "illegal_argument_exception", "name 2: * stands alone, and there are no other wildcards"},
		{"encoded slash", "POST", route + "a%2Fb/_clear_cache", "operator", "", 400, "illegal_argument_exception", `name 1: invalid token name "a/b": ` + tokenRule},
		{"line break", "POST", route + "a%0A/_clear_cache", "operator", "", 400, "illegal_argument_exception", `name 1: invalid token name "a\n": ` + tokenRule},
		{"unknown parameter", "POST", good + "?nodes=x", "operator", "", 400, "illegal_argument_exception", "request [" + good + "] contains unrecognized parameter: [nodes]"},
		{"malformed query", "POST", good + "?pretty=%zz", "operator", "", 400, "illegal_argument_exception", "the query of request [" + good + "] is malformed"},
		{"body", "POST", good, "operator", "{}", 400, "illegal_argument_exception", "request [POST " + good + "] does not support having a body"},
		{"too many names", "POST", route + strings.Repeat("a,", 1000) + "a/_clear_cache", "operator", "", 400, "illegal_argument_exception", "the request lists 1001 names, and 1000 are allowed"},
		{"GET", "GET", good, "operator", "", 405, "illegal_argument_exception", "Incorrect HTTP method for uri [" + good + "] and method [GET], allowed: [POST]"},
		{"PUT without credentials", "PUT", good, "", "", 405, "illegal_argument_exception", "Incorrect HTTP method for uri [" + good + "] and method [PUT], allowed: [POST]"},
		{"DELETE", "DELETE", good, "operator", "", 405, "illegal_argument_exception", "Incorrect HTTP method for uri [" + good + "] and method [DELETE], allowed: [POST]"},
		{"another path", "POST", "/_security/service/elastic/fleet-server/credential/token/a", "operator", "", 404, "resource_not_found_exception", "no handler found for uri [/_security/service/elastic/fleet-server/credential/token/a] and method [POST]"},
		{"a parameter that is no boolean", "POST", good + "?pretty=yes", "operator", "", 400, "illegal_argument_exception", "Failed to parse value [yes] as only [true] or [false] are allowed."},
		{"two unknown parameters", "POST", good + "?b=1&a=1", "operator", "", 400, "illegal_argument_exception", "request [" + good + "] contains unrecognized parameters: [a], [b]"},
		{"a parameter comes before a missing privilege", "POST", good + "?a", "reader", "", 400, "illegal_argument_exception", "request [" + good + "] contains unrecognized parameter: [a]"},
		{"a format that there is not", "POST", good + "?format=yaml", "operator", "", 406, "status_exception", "format [yaml] is not supported, only [json] is"},
		{"a filter does not filter errors", "POST", good + "?filter_path=nodes&a", "operator", "", 400, "illegal_argument_exception", "request [" + good + "] contains unrecognized parameter: [a]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, "elastic/fleet-server/token1")
			handler := evict.NewHandler(evict.New(h.group), authenticate, handlerConfig)
			w := serve(handler, request(test.method, test.path, test.user, test.body))
			type cause struct {
				Type, Reason string
				Header       map[string][]string
			}
			var got struct {
				Error struct {
					RootCause []cause `json:"root_cause"`
					cause
					Type, Reason string
					Header       map[string][]string
				}
				Status int
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("%v in %s", err, w.Body)
			}
			if w.Code != test.status || got.Status != test.status {
				t.Errorf("got status %d, and %d in the body, want %d", w.Code, got.Status, test.status)
			}
			if got.Error.Type != test.kind || got.Error.Reason != test.reason {
				t.Errorf("got %s: %s, want %s: %s", got.Error.Type, got.Error.Reason, test.kind, test.reason)
			}
			want := []cause{{got.Error.Type, got.Error.Reason, got.Error.Header}}
			if diff := cmp.Diff(want, got.Error.RootCause); diff != "" {
				t.Errorf("root_cause (-want +got):\n%s", diff)
			}
			challenges := w.Header().Values("WWW-Authenticate")
			if diff := cmp.Diff(challenges, got.Error.Header["WWW-Authenticate"]); test.status == 401 && (diff != "" || len(challenges) != 2) {
				t.Errorf("challenges %q, in the body (-want +got):\n%s", challenges, diff)
			}
			if (test.status == 401) != (challenges != nil) || (test.status == 405) != (w.Header().Get("Allow") == "POST") {
				t.Errorf("got headers %v", w.Header())
			}
			if w.Header().Get("X-Elastic-Product") != "Elasticsearch" || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("got headers %v", w.Header())
			}
			if got := h.entries(); got != [2]int{1, 1} {
				t.Errorf("got %v entries left, want all", got)
			}
		})
	}
}

// TestBadCredentials: the answer about credentials depends only on what the client sent.
// Credentials that cannot be used are named by their kind, and not called missing. A
// readable name is named, and nothing else of a token.
func TestBadCredentials(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, evict.HandlerConfig{})
	const path = route + "a/_clear_cache"
	const (
		missing  = "missing authentication credentials for REST request [" + path + "]"
		unusable = "unable to authenticate with provided credentials and anonymous access is not allowed for this request"
		token    = "failed to authenticate service account [elastic/nobody] with token name [t]"
		invalid  = "oauth2 token: invalid token"
	)
	good := unknown.RevealBearer()
	short := base64.RawStdEncoding.EncodeToString([]byte("\x00\x01\x00\x01elastic/nobody/t:short"))
	for authorization, want := range map[string][2]string{
		"":                                {missing, ""},
		" ":                               {missing, ""},
		"Basic b3BlcmF0b3I6d3Jvbmc=":      {"unable to authenticate user [operator] for REST request [" + path + "]", ""},
		"Basic ???":                       {unusable, "basic: invalid encoding"},
		"ApiKey x":                        {unusable, "API key: this server takes no API keys"},
		"apikey " + good:                  {unusable, "API key: this server takes no API keys"},
		"Bearer":                          {unusable, invalid},
		"Bearer x":                        {unusable, invalid},
		"Bearer eyJhbGciOiJub25lIn0.e30.": {unusable, invalid},
		"Digest username=\"x\"":           {unusable, "authorization header: unknown scheme"},
		"supersecret-without-a-scheme":    {unusable, "authorization header: unknown scheme"},
		"Bearer " + good:                  {token, ""},
		"BEARER  " + good:                 {token, ""},
		"Bearer " + short:                 {token, ""},
		"Bearer \"" + good + "\"":         {token, ""},
		"Bearer \ufeff" + good:            {token, ""},
		"Bearer " + good + `\n`:           {token, ""},
		"Bearer Bearer " + good:           {token, ""},
		good:                              {token, ""},
		"Token " + good:                   {token, ""},
		"Bearer " + good[:len(good)-1]:    {token, ""},
		"Bearer " + good[:len(good)-32]:   {unusable, invalid}, // before the colon
		"Bearer AAEAA":                    {unusable, invalid},
		"Bearer AAEAB" + good[5:]:         {unusable, invalid},
	} {
		r := request("POST", path, "", "")
		r.Header.Set("Authorization", authorization)
		w := serve(handler, r)
		var got struct {
			Error struct {
				Reason       string
				Unsuccessful string `json:"additional_unsuccessful_credentials"`
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 401 || got.Error.Reason != want[0] || got.Error.Unsuccessful != want[1] {
			t.Errorf("%q: got %d %s, want %s", authorization, w.Code, w.Body, want)
		}
		if got := w.Header().Get("X-Elastic-Product"); got != "" {
			t.Errorf("got the product header %q, which is off by default", got)
		}
	}
}

// TestTwoCredentials: a request with two Authorization headers is refused, since a proxy
// may have checked either.
func TestTwoCredentials(t *testing.T) {
	asked := false
	handler := evict.NewHandler(evict.New(newHost(t).group), func(r *http.Request) (evict.User, bool, error) {
		asked = true
		return authenticate(r)
	}, handlerConfig)
	r := request("POST", route+"a/_clear_cache", "operator", "")
	r.Header.Add("Authorization", "Bearer x")
	w := serve(handler, r)
	if w.Code != 400 || asked || !strings.Contains(w.Body.String(), "multiple values for single-valued header [Authorization]") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestUnusableCredentials compares a whole body with the reference's.
func TestUnusableCredentials(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, handlerConfig)
	r := request("POST", route+"a/_clear_cache", "", "")
	r.Header.Set("Authorization", "Bearer x")
	const cause = `"type":"security_exception","reason":"unable to authenticate with provided credentials and anonymous access is not allowed for this request","additional_unsuccessful_credentials":"oauth2 token: invalid token","header":{"WWW-Authenticate":["Basic realm=\"security\", charset=\"UTF-8\"","Bearer realm=\"security\""]}`
	if diff := cmp.Diff(`{"error":{"root_cause":[{`+cause+`}],`+cause+`},"status":401}`, serve(handler, r).Body.String()); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

// TestChallenges: the host says which schemes it takes. If it takes no service tokens,
// one that is sent may be good: the answer does not say that it has failed.
func TestChallenges(t *testing.T) {
	for _, test := range []struct {
		cfg        evict.HandlerConfig
		challenges []string
		reason     string
	}{
		{evict.HandlerConfig{Realm: "ops"}, []string{`Basic realm="ops", charset="UTF-8"`, `Bearer realm="ops"`}, "failed to authenticate service account [elastic/nobody]"},
		{evict.HandlerConfig{Challenges: []string{`Basic realm="x"`}}, []string{`Basic realm="x"`}, "service account token: this route takes none"},
		{evict.HandlerConfig{Challenges: []string{"Negotiate", `bearer realm="y"`}}, []string{"Negotiate", `bearer realm="y"`}, "failed to authenticate service account [elastic/nobody]"},
	} {
		handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, test.cfg)
		r := request("POST", route+"a/_clear_cache", "", "")
		r.Header.Set("Authorization", "Bearer "+unknown.RevealBearer())
		w := serve(handler, r)
		if diff := cmp.Diff(test.challenges, w.Header().Values("WWW-Authenticate")); w.Code != 401 || diff != "" {
			t.Errorf("got %d, challenges (-want +got):\n%s", w.Code, diff)
		}
		if !strings.Contains(w.Body.String(), test.reason) {
			t.Errorf("%v: got %s", test.cfg.Challenges, w.Body)
		}
	}
}

// TestRefusedUser: the host chooses the name of the user in the answer to refused
// credentials.
func TestRefusedUser(t *testing.T) {
	refuse := func(*http.Request) (evict.User, bool, error) { return evict.User{Name: "hun..."}, false, nil }
	w := serve(evict.NewHandler(evict.New(newHost(t).group), refuse, handlerConfig), request("POST", route+"a/_clear_cache", "hunter2hunter2", ""))
	if body := w.Body.String(); w.Code != 401 || !strings.Contains(body, "unable to authenticate user [hun...] for") || strings.Contains(body, "hunter2") {
		t.Errorf("got %d %s", w.Code, body)
	}
}

// TestRunAs: a request to act as another user never gets the sender's own rights.
func TestRunAs(t *testing.T) {
	honoured := func(r *http.Request) (evict.User, bool, error) {
		user, ok, err := authenticate(r)
		if as := r.Header.Get("es-security-runas-user"); ok && as != "" && user.Name == "root" {
			user = evict.User{Name: as, Privileges: []string{"manage_security"}}
		}
		return user, ok, err
	}
	for _, test := range []struct {
		host   func(*http.Request) (evict.User, bool, error)
		user   string
		as     []string
		status int
	}{
		{authenticate, "operator", nil, 200},
		{authenticate, "operator", []string{"reader"}, 403},
		{authenticate, "root", []string{"reader"}, 403},
		{authenticate, "root", []string{""}, 403},
		{authenticate, "root", []string{"root"}, 200},
		{authenticate, "root", []string{"root", "reader"}, 403},
		{honoured, "root", []string{"other"}, 200},
		{honoured, "operator", []string{"other"}, 403},
	} {
		r := request("POST", route+"a/_clear_cache", test.user, "")
		r.Header["Es-Security-Runas-User"] = test.as
		if test.as == nil {
			r.Header.Del("es-security-runas-user")
		}
		w := serve(evict.NewHandler(evict.New(newHost(t).group), test.host, handlerConfig), r)
		if w.Code != test.status || w.Code == 403 && !strings.Contains(w.Body.String(), "unauthorized to run as [") {
			t.Errorf("%s as %q: got %d %s, want %d", test.user, test.as, w.Code, w.Body, test.status)
		}
	}
}

// TestServiceAccountCaller: answers say which kind of caller it is.
func TestServiceAccountCaller(t *testing.T) {
	account := func(*http.Request) (evict.User, bool, error) {
		return evict.User{Name: "elastic/kibana", Privileges: []string{"monitor"}, ServiceAccount: true}, true, nil
	}
	w := serve(evict.NewHandler(evict.New(newHost(t).group), account, handlerConfig), request("POST", route+"a/_clear_cache", "", ""))
	if w.Code != 403 || !strings.Contains(w.Body.String(), "is unauthorized for service account [elastic/kibana], this action") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestUserInContext: observers learn which user asked for an eviction.
func TestUserInContext(t *testing.T) {
	var users []string
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(ctx context.Context, ev tokencache.Event) {
		user, ok := evict.UserFrom(ctx)
		users = append(users, fmt.Sprintln(ev.Kind == tokencache.EventEviction, ok, user.Name))
	}})
	serve(evict.NewHandler(evict.New(group), authenticate, handlerConfig), request("POST", route+"a/_clear_cache", "operator", ""))
	if diff := cmp.Diff([]string{"true true operator\n"}, users); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}

// TestSpelling: fixed parts of the path are compared as they are spelt, so that a proxy
// that denies the path by its spelling denies everything that the handler answers.
func TestSpelling(t *testing.T) {
	const good = route + "token1/_clear_cache"
	parts := strings.Split(good, "/")
	for i, part := range parts[1:] {
		if i == 2 || i == 3 || i == 6 {
			continue
		}
		for at := range part {
			changed := slices.Clone(parts)
			changed[i+1] = part[:at] + fmt.Sprintf("%%%02X", part[at]) + part[at+1:]
			for _, suffix := range []string{"", "?x=<"} {
				h := newHost(t, "elastic/fleet-server/token1")
				w := serve(evict.NewHandler(evict.New(h.group), authenticate, handlerConfig), request("POST", strings.Join(changed, "/")+suffix, "operator", ""))
				if w.Code != 404 || h.entries() != [2]int{1, 1} {
					t.Errorf("%s: got %d %s", strings.Join(changed, "/"), w.Code, w.Body)
				}
			}
		}
	}
	// A character that should have been encoded makes net/url encode the path again.
	h := newHost(t, "elastic/fleet-server/token1")
	r := request("POST", "/", "operator", "")
	r.URL, _ = url.ParseRequestURI(`/_securit%79/service/elastic/fleet-server/credential/token/token1"/_clear_cache`)
	if w := serve(evict.NewHandler(evict.New(h.group), authenticate, handlerConfig), r); w.Code != 404 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestBearerInTheWrongField: no answer repeats a bearer, whatever field it was pasted into.
func TestBearerInTheWrongField(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, handlerConfig)
	bearer := unknown.RevealBearer()
	for _, target := range []string{
		route + bearer + "/_clear_cache",
		route + "a," + bearer + "/_clear_cache",
		"/_security/service/" + bearer + "/fleet-server/credential/token/a/_clear_cache",
		"/_security/service/elastic/" + bearer + "/credential/token/a/_clear_cache",
		route + "a/_clear_cache?" + bearer,
		route + "a/_clear_cache?pretty=" + bearer,
		route + "a/_clear_cache?format=" + bearer,
		"/" + bearer,
	} {
		for _, user := range []string{"operator", "reader", ""} {
			for _, method := range []string{"POST", "GET"} {
				w := serve(handler, request(method, target, user, ""))
				if strings.Contains(fmt.Sprint(w.Body, w.Header()), bearer[5:]) || w.Code == 200 {
					t.Errorf("%s %s: got %d %s", method, target, w.Code, w.Body)
				}
			}
		}
	}
	r := request("POST", route+"a/_clear_cache", "", "")
	r.SetBasicAuth(bearer, "")
	if w := serve(handler, r); w.Code != 401 || strings.Contains(w.Body.String(), bearer[5:]) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

var unknown = func() tokencache.Token {
	token, err := tokencache.NewToken(tokencache.Account{Namespace: "elastic", Service: "nobody"}.TokenID("t"), tokencache.GenerateSecret())
	if err != nil {
		panic(err)
	}
	return token
}()

func TestSuperuserMayEvict(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, handlerConfig)
	if w := serve(handler, request("POST", route+"a/_clear_cache", "root", "")); w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestContentNegotiation(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, handlerConfig)
	const plain, vendor = "application/json", "application/vnd.elasticsearch+json;compatible-with="
	for _, test := range []struct {
		accept string
		status int
		want   string
	}{
		{"", 200, plain},
		{"*/*", 200, plain},
		{"text/html", 200, plain},
		{"application/json", 200, plain},
		{vendor + "9", 200, vendor + "9"},
		{"application/vnd.elasticsearch+json; compatible-with=8", 200, vendor + "8"},
		{"Application/VND.Elasticsearch+JSON;Compatible-With=8", 200, vendor + "8"},
		{"text/html, " + vendor + "9", 200, vendor + "9"},
		{vendor + "8,text/plain", 200, vendor + "8"}, // the official client for JavaScript
		{"application/vnd.elasticsearch+json", 200, plain},
		{vendor + "7, */*", 200, plain},
		{vendor + "7", 400, plain},
		{vendor + "10", 400, plain},
		{vendor + "x", 400, plain},
		{";;;", 400, plain},
		{"application/yaml", 406, plain},
		{"application/cbor", 406, plain},
		{"application/vnd.elasticsearch+smile;compatible-with=9", 406, plain},
	} {
		r := request("POST", route+"a/_clear_cache", "operator", "")
		r.Header.Set("Accept", test.accept)
		w := serve(handler, r)
		if got := w.Header().Get("Content-Type"); got != test.want || w.Code != test.status {
			t.Errorf("Accept %q: got %d, %q: %s", test.accept, w.Code, got, w.Body)
		}
	}
}

// TestFilterPath tries filter_path on an answer; package eswire has its grammar.
func TestFilterPath(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, handlerConfig)
	for query, want := range map[string]string{
		"?filter_path=":             doneBody,
		"?filter_path=cluster_name": `{"cluster_name":"c"}`,
		"?filter_path=nodes.*.name": `{"nodes":{"node-id":{"name":"node-name"}}}`,
		"?filter_path=_nodes,-**.failed&human&error_trace=true&format=json": `{"_nodes":{"total":1,"successful":1}}`,
		"?filter_path=nothing": `{}`,
	} {
		if w := serve(handler, request("POST", route+"a/_clear_cache"+query, "operator", "")); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: got %d %s, want %s", query, w.Code, w.Body, want)
		}
	}
}

func TestOpaqueID(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, handlerConfig)
	for method, status := range map[string]int{"POST": 200, "GET": 405, "OPTIONS": 200} {
		r := request(method, route+"a/_clear_cache", "operator", "")
		r.Header.Set("X-Opaque-Id", "mine")
		if w := serve(handler, r); w.Code != status || w.Header().Get("X-Opaque-Id") != "mine" {
			t.Errorf("%s: got %d, %v", method, w.Code, w.Header())
		}
	}
}

func TestOptions(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, handlerConfig)
	w := serve(handler, request("OPTIONS", route+"a/_clear_cache", "", ""))
	if w.Code != 200 || w.Header().Get("Allow") != "POST" || w.Body.Len() > 0 {
		t.Errorf("got %d, %v: %s", w.Code, w.Header(), w.Body)
	}
}

// TestHeaderIsSet: official clients refuse a product header that occurs twice.
func TestHeaderIsSet(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, evict.HandlerConfig{Header: http.Header{"x-elastic-product": {"Elasticsearch"}}})
	for _, user := range []string{"operator", "reader", ""} {
		w := httptest.NewRecorder()
		w.Header().Set("X-Elastic-Product", "Elasticsearch") // by the host's own middleware
		handler.ServeHTTP(w, request("POST", route+"a/_clear_cache", user, ""))
		if got := w.Header().Values("X-Elastic-Product"); len(got) != 1 {
			t.Errorf("%q: got %q", user, got)
		}
	}
}

// TestBodies sends bodies that do not come, or that break off, to a real server.
func TestBodies(t *testing.T) {
	const operator = "Authorization: Basic b3BlcmF0b3I6cGFzc3dvcmQ=\r\n"
	const chunked = "Transfer-Encoding: chunked\r\n"
	for _, test := range []struct {
		name, header, body string
		status, left       int
	}{
		{"announced, no credentials", "Content-Length: 10\r\n", "", 401, 1},
		{"announced", operator + "Content-Length: 10\r\n", "", 400, 1},
		{"chunked, no credentials", chunked, "", 401, 1},
		{"broken chunk", operator + chunked, "zz\r\n", 400, 1},
		{"chunked", operator + chunked, "1\r\nx\r\n0\r\n\r\n", 400, 1},
		{"chunked, empty", operator + chunked, "0\r\n\r\n", 200, 0},
		{"a length of zero", operator + "Content-Length: 0\r\n", "", 200, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, "elastic/fleet-server/token1")
			server := httptest.NewServer(evict.NewHandler(evict.New(h.group), authenticate, handlerConfig))
			defer server.Close()
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(4 * time.Second)) // less than the handler gives a body
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s", route+"token1/_clear_cache", test.header, test.body)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.status || resp.Close != (test.status != 200) {
				t.Errorf("got %s, close %t", resp.Status, resp.Close)
			}
			if got := h.entries(); got != [2]int{test.left, test.left} {
				t.Errorf("got %v entries left, want %d", got, test.left)
			}
		})
	}
}

func TestPretty(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, handlerConfig)
	for query, want := range map[string]bool{"": false, "?pretty": true, "?pretty=true": true, "?pretty=false": false} {
		w := serve(handler, request("POST", route+"a/_clear_cache"+query, "operator", ""))
		if got := strings.Contains(w.Body.String(), "\n  \"_nodes\": {\n"); got != want || w.Code != 200 {
			t.Errorf("%q: got %d %s", query, w.Code, w.Body)
		}
	}
}

func TestAuditAndDefaults(t *testing.T) {
	h := newHost(t, "elastic/fleet-server/token1")
	type ctxKey struct{}
	var audited []string
	handler := evict.NewHandler(evict.New(h.group), authenticate, evict.HandlerConfig{
		MaxNames: -1,
		Audit: func(ctx context.Context, user evict.User, report evict.Report) {
			if h.entries() != [2]int{} || ctx.Value(ctxKey{}) != "trace" {
				t.Error("audited before it was done, or without the request's context")
			}
			audited = append(audited, user.Name, report.Selector.String())
		},
	})
	r := request("POST", route+strings.Repeat("token1,", 2000)+"/_clear_cache", "operator", "")
	w := serve(handler, r.WithContext(context.WithValue(r.Context(), ctxKey{}, "trace")))
	serve(handler, request("POST", route+"*/_clear_cache", "reader", "")) // not audited
	if diff := cmp.Diff([]string{"operator", "elastic/fleet-server/token1"}, audited); diff != "" {
		t.Errorf("audited (-want +got):\n%s", diff)
	}
	var body struct {
		ClusterName string `json:"cluster_name"`
		Nodes       map[string]struct{ Name string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.ClusterName != "svctoken" || len(body.Nodes) != 1 {
		t.Errorf("got %s, %v", w.Body, err)
	}
	for id := range body.Nodes {
		if len(id) != 22 {
			t.Errorf("got node id %q, want 22 random characters", id)
		}
	}
}

// TestMaxNames: the bound counts the names that a request lists, even if there is only one.
func TestMaxNames(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, evict.HandlerConfig{MaxNames: 1})
	for names, want := range map[string]int{"a": 200, "*": 200, "a,b": 400} {
		if w := serve(handler, request("POST", route+names+"/_clear_cache", "operator", "")); w.Code != want {
			t.Errorf("%s: got %d %s, want %d", names, w.Code, w.Body, want)
		}
	}
}

// A fleet takes an evictor's place.
type fleet struct {
	evict.Evictor
	nodes []evict.Node
	err   error
}

func (f fleet) EvictSelector(_ context.Context, sel tokencache.Selector) (evict.Report, error) {
	return evict.Report{Selector: sel, Nodes: f.nodes}, f.err
}

func TestNodes(t *testing.T) {
	handler := evict.NewHandler(fleet{nodes: []evict.Node{{ID: "b", Name: "bee"}, {ID: "c", Name: "sea", Err: errors.New("timed out")}}}, authenticate, handlerConfig)
	w := serve(handler, request("POST", route+"a/_clear_cache", "operator", ""))
	want := `{"_nodes":{"total":3,"successful":2,"failed":1,"failures":[{"type":"failed_node_exception","reason":"node [c] failed","node_id":"c","caused_by":{"type":"exception","reason":"timed out"}}]},"cluster_name":"c","nodes":{"b":{"name":"bee"},"node-id":{"name":"node-name"}}}`
	if diff := cmp.Diff(want, w.Body.String()); w.Code != 200 || diff != "" {
		t.Errorf("got %d, body (-want +got):\n%s", w.Code, diff)
	}
	handler = evict.NewHandler(fleet{err: errors.New("no quorum")}, authenticate, handlerConfig)
	if w := serve(handler, request("POST", route+"a/_clear_cache", "operator", "")); w.Code != 503 || !strings.Contains(w.Body.String(), "no quorum") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	// The known nodes' confirmation says nothing about the others.
	handler = evict.NewHandler(fleet{nodes: []evict.Node{{ID: "b"}}, err: errors.New("no quorum")}, authenticate, handlerConfig)
	if w := serve(handler, request("POST", route+"a/_clear_cache", "operator", "")); w.Code != 503 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestRetryAfter: a 503 says when to try again, in whole seconds, if the host's error
// knows.
func TestRetryAfter(t *testing.T) {
	overloaded := func(wait time.Duration) error {
		return fmt.Errorf("login: %w", &tokencache.NoAnswerError{Reason: tokencache.ReasonOverloaded, RetryAfter: wait})
	}
	for _, test := range []struct {
		name           string
		login, evicted error
		want           string
	}{
		{"one second", overloaded(time.Second), nil, "1"},
		{"part of a second", overloaded(1001 * time.Millisecond), nil, "2"},
		{"not known", overloaded(0), nil, ""},
		{"another error", errors.New("no database"), nil, ""},
		{"nodes that are not known", nil, errors.New("no quorum"), ""},
	} {
		handler := evict.NewHandler(fleet{err: test.evicted}, func(r *http.Request) (evict.User, bool, error) {
			user, ok, _ := authenticate(r)
			return user, ok, test.login
		}, handlerConfig)
		w := serve(handler, request("POST", route+"a/_clear_cache", "operator", ""))
		if got := w.Header().Get("Retry-After"); w.Code != 503 || got != test.want || strings.Contains(w.Body.String(), "login") {
			t.Errorf("%s: got %d, Retry-After %q, %s", test.name, w.Code, got, w.Body)
		}
	}
}

// TestUnconfirmed: a node that does not answer within MaxWait counts as failed, the
// eviction is still audited, and the client learns until when the node may answer from
// before.
func TestUnconfirmed(t *testing.T) {
	for _, test := range []struct {
		name          string
		maxWait, want time.Duration
	}{
		{"default", 0, 30 * time.Second},
		{"set", time.Second, time.Second},
		{"as long as it takes", -1, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				audited := 0
				cfg := handlerConfig
				cfg.MaxWait = test.maxWait
				cfg.Audit = func(ctx context.Context, _ evict.User, report evict.Report) {
					if audited++; len(report.Nodes) != 1 || ctx.Err() != nil {
						t.Errorf("audited %+v with %v", report.Nodes, ctx.Err())
					}
				}
				began := time.Now()
				w := serve(evict.NewHandler(silent{}, authenticate, cfg), request("POST", route+"a/_clear_cache", "operator", ""))
				if took := time.Since(began); took != test.want {
					t.Errorf("it took %v, want %v", took, test.want)
				}
				const want = `{"_nodes":{"total":2,"successful":1,"failed":1,"failures":[{"type":"failed_node_exception","reason":"node [b] failed","node_id":"b","caused_by":{"type":"exception","reason":"no answer, until 2000-01-01T00:00:15.000Z"}}]},"cluster_name":"c","nodes":{"node-id":{"name":"node-name"}}}`
				if diff := cmp.Diff(want, w.Body.String()); w.Code != 200 || diff != "" || audited != 1 {
					t.Errorf("got %d, audited %d times, body (-want +got):\n%s", w.Code, audited, diff)
				}
			})
		})
	}
}

// TestAuditOfFailure: an eviction that is answered with 503 is audited, since it has
// happened here and goes on elsewhere; so is one whose client has gone, with a context
// that is still good for writing it down.
func TestAuditOfFailure(t *testing.T) {
	for name, evictor := range map[string]evict.Evictor{
		"nodes that are not known": nothing{},
		"a client that has gone":   fleet{},
	} {
		var audited []string
		cfg := handlerConfig
		cfg.Audit = func(ctx context.Context, user evict.User, report evict.Report) {
			if ctx.Err() != nil {
				t.Errorf("%s: audited with %v", name, ctx.Err())
			}
			audited = append(audited, user.Name, report.Selector.String())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		serve(evict.NewHandler(evictor, authenticate, cfg), request("POST", route+"a/_clear_cache", "operator", "").WithContext(ctx))
		if diff := cmp.Diff([]string{"operator", "elastic/fleet-server/a"}, audited); diff != "" {
			t.Errorf("%s: audited (-want +got):\n%s", name, diff)
		}
	}
}

// A nothing returns an empty report.
type nothing struct{ evict.Evictor }

func (nothing) EvictSelector(context.Context, tokencache.Selector) (evict.Report, error) {
	return evict.Report{}, errors.New("no quorum")
}

// A silent fleet has a node that does not answer.
type silent struct{ evict.Evictor }

func (silent) EvictSelector(ctx context.Context, sel tokencache.Selector) (evict.Report, error) {
	node := evict.Node{ID: "b", Err: errors.New("fleet: no answer"), UnconfirmedUntil: time.Now().Add(15 * time.Second)}
	select {
	case <-ctx.Done():
	case <-time.After(time.Hour):
	}
	return evict.Report{Selector: sel, Nodes: []evict.Node{node}}, errors.New("not confirmed")
}

// TestMounting mounts the handler as hosts do.
func TestMounting(t *testing.T) {
	h := newHost(t)
	handler := evict.NewHandler(evict.New(h.group), authenticate, handlerConfig)
	pattern := http.NewServeMux()
	pattern.Handle("POST /_security/service/{namespace}/{service}/credential/token/{names}/_clear_cache", handler)
	stripped := http.NewServeMux()
	stripped.Handle("/api/", http.StripPrefix("/api", handler))
	slash := http.StripPrefix("/api/", handler) // which leaves no slash in front
	pinned := func(prefix string) *evict.Handler {
		cfg := handlerConfig
		cfg.Prefix = prefix
		return evict.NewHandler(evict.New(h.group), authenticate, cfg)
	}
	other := http.NewServeMux()
	other.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, test := range []struct {
		name    string
		handler http.Handler
		method  string
		path    string
		status  int
	}{
		{"pattern", pattern, "POST", route + "a,b/_clear_cache", 200},
		{"pattern, encoded comma", pattern, "POST", route + "a%2Cb/_clear_cache", 200},
		{"pattern, encoded slash", pattern, "POST", route + "a%2Fb/_clear_cache", 400},
		{"stripped prefix", stripped, "POST", "/api" + route + "*/_clear_cache", 200},
		{"stripped prefix, encoded slash", stripped, "POST", "/api" + route + "a%2Fb/_clear_cache", 400},
		{"stripped slash", slash, "POST", "/api" + route + "a,b/_clear_cache", 200},
		{"stripped slash, no names", slash, "POST", "/api" + route + "/_clear_cache", 200},
		{"something in front", handler, "POST", "/x/y" + route + "a/_clear_cache", 404},
		{"something in front, round the mux", handler.Wrap(other), "POST", "/x" + route + "a/_clear_cache", http.StatusTeapot},
		{"pinned", pinned("/api/v1/"), "POST", "/api/v1" + route + "a/_clear_cache", 200},
		{"pinned, like the route", pinned("/_security/service/a/b"), "POST", "/_security/service/a/b" + route + "a/_clear_cache", 200},
		{"pinned, another", pinned("/api/v1"), "POST", "/api/v2" + route + "a/_clear_cache", 404},
		{"pinned, more", pinned("/api/v1"), "POST", "/x/api/v1" + route + "a/_clear_cache", 404},
		{"pinned, nothing", pinned("/api/v1"), "POST", route + "a/_clear_cache", 404},
		{"pinned to nothing", pinned("/"), "POST", route + "a/_clear_cache", 200},
		{"pinned to nothing, something", pinned("/"), "POST", "/x" + route + "a/_clear_cache", 404},
		{"pinned, round the mux", pinned("/api").Wrap(other), "POST", "/api" + route + "a/_clear_cache", 200},
		{"pinned, stripped", http.StripPrefix("/api/", pinned("/")), "POST", "/api" + route + "a/_clear_cache", 200},
		{"many slashes", handler, "POST", route + "a/_clear_cache///", 200},
		{"round the mux", handler.Wrap(other), "POST", route + "a/_clear_cache", 200},
		{"round the mux, empty", handler.Wrap(other), "POST", route + "/_clear_cache", 200},
		{"round the mux, GET", handler.Wrap(other), "GET", route + "/_clear_cache", 405},
		{"to the mux", handler.Wrap(other), "POST", "/other", http.StatusTeapot},
	} {
		if w := serve(test.handler, request(test.method, test.path, "operator", "")); w.Code != test.status {
			t.Errorf("%s: got %d %s, want %d", test.name, w.Code, w.Body, test.status)
		}
	}
}

// TestFixedSegments: each fixed part of the path must match.
func TestFixedSegments(t *testing.T) {
	handler := evict.NewHandler(evict.New(newHost(t).group), authenticate, handlerConfig)
	parts := strings.Split(route+"a/_clear_cache", "/")
	for i, part := range parts[1:] {
		fixed := i != 2 && i != 3 && i != 6
		changed := slices.Clone(parts)
		changed[i+1] = part + "x"
		want := 200
		if fixed {
			want = 404
		}
		if w := serve(handler, request("POST", strings.Join(changed, "/"), "operator", "")); w.Code != want {
			t.Errorf("%s: got %d, want %d", strings.Join(changed, "/"), w.Code, want)
		}
	}
}

func FuzzHandler(f *testing.F) {
	f.Add("POST", route+"token1/_clear_cache", "application/json", "Basic b3BlcmF0b3I6cGFzc3dvcmQ=")
	f.Add("POST", route+"a%2Cb,,/_clear_cache?pretty", "application/vnd.elasticsearch+json;compatible-with=9", "Basic b3BlcmF0b3I6cGFzc3dvcmQ=")
	f.Add("GET", "/%zz", "", "")
	f.Add("POST", "//_clear_cache/", ";;;,,", "Bearer x")
	h := newHost(f, "elastic/fleet-server/token1")
	handler := evict.NewHandler(evict.New(h.group), authenticate, handlerConfig)
	f.Fuzz(func(t *testing.T, method, target, accept, authorization string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: method, URL: u, Header: http.Header{"Accept": {accept}, "Authorization": {authorization}}}
		w := serve(handler, r)
		if method == http.MethodOptions && w.Code == 200 {
			return
		}
		if !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") == "" {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		switch w.Code {
		case 200:
			if name, _, _ := r.BasicAuth(); method != "POST" || name != "operator" && name != "root" {
				t.Errorf("%s by %q was done", method, name)
			}
		case 400, 401, 403, 404, 405, 406, 503:
		default:
			t.Errorf("got %d", w.Code)
		}
	})
}
