package server

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// The page for operators. Whatever comes from outside is escaped by html/template;
// nothing on it is a secret.

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

type page struct {
	Nonce    string // lets the page's own script and style run, and no others
	Now      time.Time
	User     string
	MayEvict bool
	Caches   []cacheFigures
	Path     string
	File     filesource.Status
	Index    indexsource.State
	About    Description // of the index
	Recent   []eviction

	Form  form
	Error string    // why the form's eviction failed
	Done  *eviction // what the form's eviction did
}

type form struct{ Namespace, Service, Names string }

type cacheFigures struct {
	Name string
	tokencache.Stats
	Asked   int // entries that went because an operator asked
	Changed int // entries that went because the source had changed
}

// root shows the page to browsers, and tells other clients what this is.
func (s *server) root(w http.ResponseWriter, r *http.Request, user evict.User) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		reply(w, r, http.StatusOK, object{
			"name": s.node.name, "cluster_name": clusterName, "cluster_uuid": s.node.id,
			"version": object{"number": "9.0.0", "build_flavor": "svctoken"}, // of the API
		})
		return
	}
	p := s.page(r.Context(), user)
	if r.URL.Query().Has("live") {
		p.write(w, http.StatusOK, "live")
		return
	}
	done, _ := strconv.Atoi(r.URL.Query().Get("done"))
	for i := range p.Recent {
		if p.Recent[i].Number == done {
			p.Done = &p.Recent[i]
		}
	}
	p.write(w, http.StatusOK, "page")
}

// evictFromPage answers the form. The browser is sent on to a page that can be
// loaded again without evicting again.
func (s *server) evictFromPage(w http.ResponseWriter, r *http.Request, user evict.User) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	f := form{r.PostFormValue("namespace"), r.PostFormValue("service"), r.PostFormValue("names")}
	report, err := s.evictor.Evict(r.Context(), f.Namespace, f.Service, f.Names)
	if err != nil {
		p := s.page(r.Context(), user)
		p.Form, p.Error = f, err.Error()
		p.write(w, http.StatusBadRequest, "page")
		return
	}
	number := s.audit(r.Context(), user, report)
	http.Redirect(w, r, fmt.Sprintf("?done=%d", number), http.StatusSeeOther)
}

func (s *server) page(ctx context.Context, user evict.User) page {
	// The journal comes first: what it has counted, the caches have counted before.
	recent, asked := s.journal.read()
	p := page{
		Nonce: rand.Text(), Now: time.Now(), User: user.Name, MayEvict: may(user, "manage_security"),
		Path: s.file.Path(), File: s.file.Status(), Index: s.indexState(), About: s.index.Describe(ctx), Recent: recent,
	}
	for _, cache := range []interface {
		Name() string
		Stats() tokencache.Stats
	}{s.fileCache, s.indexCache} {
		figures := cacheFigures{Name: cache.Name(), Stats: cache.Stats(), Asked: asked[cache.Name()]}
		figures.Changed = int(figures.Evicted) - figures.Asked
		p.Caches = append(p.Caches, figures)
	}
	return p
}

// write answers with the page, or with the part of it that changes.
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

// Summary says what went from which cache.
func (e eviction) Summary() string {
	return fmt.Sprintf("%d from file, %d from index", e.Report.Evicted["file"], e.Report.Evicted["index"])
}
