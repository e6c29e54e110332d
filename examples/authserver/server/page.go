package server

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/internal/eswire"
	"github.com/svctoken/svctoken/tokencache"
)

// The page for operators. Whatever comes from outside is escaped by html/template;
// nothing on it is a secret.

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"plain": eswire.Plain, "relative": relative}).Parse(pageText))

type page struct {
	Nonce    string // lets the page's own script and style run, and no others
	Now      time.Time
	Node     string
	Started  time.Time
	User     string
	MayEvict bool
	NotReady []string // why the server should get no requests
	Names    []string // of the caches
	Figures  []figures
	Outcomes []figures // of all authentications
	Charts   []chart
	Path     string
	File     filesource.Status
	Index    indexsource.State
	About    Description // of the index
	Fleet    *fleetView  // nil: the server is alone
	Accounts []string
	record

	Form    form
	Confirm bool    // whether to ask before the form's eviction
	Error   string  // what is wrong with the form
	Done    *deed   // what the form's eviction did
	Found   []found // what is known of the names in the form
}

// Uptime returns for how long the server has run, in words.
func (p page) Uptime() string { return span(p.Now.Sub(p.Started)) }

// A form is an operator's input.
type form struct{ Account, Names string }

// shown returns the form as the page repeats it.
func (f form) shown() form { return form{eswire.Redact(f.Account), eswire.Redact(f.Names)} }

// read returns the account and the names, without the spaces that people type
// after commas.
func (f form) read() (namespace, service, names string) {
	namespace, service, _ = strings.Cut(f.Account, "/")
	list := strings.Split(f.Names, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return namespace, service, strings.Join(list, ",")
}

// isPage reports whether the client is a browser.
func isPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

// checkRoot checks a request for the page, or for info.
func checkRoot(w http.ResponseWriter, r *http.Request) *eswire.Error {
	if isPage(r) {
		return eswire.CheckQuery(r, "done", "live")
	}
	return eswire.Check(w, r)
}

// checkForm checks a request that the page's form sends, without the form itself.
func checkForm(_ http.ResponseWriter, r *http.Request) *eswire.Error { return eswire.CheckQuery(r) }

// root shows the page to browsers, and answers other clients with info.
func (s *server) root(w http.ResponseWriter, r *http.Request, c caller) {
	if !isPage(r) {
		s.info(w, r)
		return
	}
	p := s.page(r.Context(), c)
	query := r.URL.Query()
	if query.Has("live") {
		p.write(w, http.StatusOK, "parts")
		return
	}
	done, _ := strconv.Atoi(query.Get("done"))
	for i := range p.Deeds {
		if p.Deeds[i].Number == done && p.Deeds[i].Report != nil {
			p.Done = &p.Deeds[i]
		}
	}
	p.write(w, http.StatusOK, "page")
}

// clusterID returns an id that all servers of a log have in common.
func (s *server) clusterID() string {
	if s.fleet != nil {
		return s.fleet.Status().Log
	}
	return s.node.id
}

// evictFromPage answers the form. It redirects the browser to a page that can be loaded
// again without evicting again.
func (s *server) evictFromPage(w http.ResponseWriter, r *http.Request, c caller) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	f := form{r.PostFormValue("account"), r.PostFormValue("names")}
	namespace, service, names := f.read()
	sel, err := evict.Parse(namespace, service, names)
	if err != nil {
		p := s.page(r.Context(), c)
		p.Form, p.Error = f.shown(), eswire.Plain(err)
		p.write(w, http.StatusBadRequest, "page")
		return
	}
	if names == "*" && r.PostFormValue("confirm") == "" {
		p := s.page(r.Context(), c)
		p.Form, p.Confirm = f.shown(), true
		p.write(w, http.StatusOK, "page")
		return
	}
	number, report, err := s.evict(r.Context(), sel) // it has happened here, whatever is known of other nodes
	if !reached(report, err) {
		p := s.page(r.Context(), c)
		p.Form, p.Error = f.shown(), eswire.Plain(err)
		p.write(w, http.StatusServiceUnavailable, "page")
		return
	}
	http.Redirect(w, r, "?"+url.Values{"done": {strconv.Itoa(number)}}.Encode(), http.StatusSeeOther)
}

// A shownCache is a cache as the page needs it, whatever its records are.
type shownCache interface {
	Name() string
	Stats() tokencache.Stats
	Remembers(tokencache.TokenID) (since, until time.Time, ok bool)
}

func (s *server) caches() []shownCache { return []shownCache{s.fileCache, s.indexCache} }

func (s *server) page(ctx context.Context, c caller) page {
	// The journal comes first: the caches have counted everything that it has counted.
	p := page{
		record: s.journal.read(), Nonce: rand.Text(), Now: time.Now(), Node: s.node.name, Started: s.started, NotReady: s.health.Reasons(), User: c.Name, MayEvict: c.may(mayEvict...),
		Charts: s.rates.charts(), Path: s.file.Path(), File: s.file.Status(), Index: s.indexState(), About: s.index.Describe(ctx), Fleet: s.fleetView(),
	}
	for _, account := range s.accounts {
		p.Accounts = append(p.Accounts, account.String())
	}
	var all []tokencache.Stats
	for _, cache := range s.caches() {
		p.Names = append(p.Names, cache.Name())
		all = append(all, cache.Stats())
	}
	p.Figures = newFigures(p.Names, all, p.evicted)
	p.Outcomes = fieldRows([]tokencache.GroupStats{s.group.Stats()})
	return p
}

// write answers with the page, or with the parts that change.
func (p page) write(w http.ResponseWriter, status int, part string) {
	var b bytes.Buffer
	if err := pageTemplate.ExecuteTemplate(&b, part, p); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", fmt.Sprintf(
		"default-src 'none'; img-src data:; style-src 'nonce-%[1]s'; script-src 'nonce-%[1]s'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'", p.Nonce))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
