package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/internal/eswire"
	"github.com/svctoken/svctoken/tokencache"
)

// A found is what one cache and its source know of a token.
type found struct {
	Token, Cache string
	State        string
	Since, Until time.Time // of the cached entry
	Facts        []fact    // more facts from the index
}

// Cached reports whether the cache has the token.
func (f found) Cached() bool { return !f.Until.IsZero() }

// A fact is something that has happened to a token, or will.
type fact struct {
	Label string
	Time  time.Time
	By    string
}

// lookUpFromPage answers the form's second button. It is a POST, so that the text, which
// may be a whole bearer, is in no address and in no log of a proxy.
func (s *server) lookUpFromPage(w http.ResponseWriter, r *http.Request, c caller) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	p := s.page(r.Context(), c)
	f := form{r.PostFormValue("account"), r.PostFormValue("names")}
	if err := f.takeBearer(); err != nil {
		p.Form, p.Error = f.shown(), err.Error()
		p.write(w, http.StatusBadRequest, "page")
		return
	}
	p.Form = f.shown()
	ids, err := f.tokens()
	if err != nil {
		p.Error = eswire.Plain(err)
		p.write(w, http.StatusBadRequest, "page")
		return
	}
	for _, id := range ids {
		p.Found = append(p.Found, s.foundInFile(id), s.foundInIndex(r.Context(), id))
	}
	p.write(w, http.StatusOK, "page")
}

// takeBearer replaces a bearer by the account and the name of its token.
func (f *form) takeBearer() error {
	if eswire.Redact(f.Names) == f.Names {
		return nil
	}
	name, ok := eswire.TokenName(f.Names)
	if !ok {
		return errors.New("that begins as a bearer does, and the name in it cannot be read")
	}
	id, err := tokencache.ParseTokenID(name)
	if err != nil {
		return errors.New("the name in that bearer is not valid")
	}
	f.Account, f.Names = id.Account.String(), id.Name
	return nil
}

// tokens returns the tokens that the form names, one by one.
func (f form) tokens() ([]tokencache.TokenID, error) {
	namespace, service, names := f.read()
	if names == "*" {
		return nil, errors.New("look up tokens by their names")
	}
	if _, err := evict.Parse(namespace, service, names); err != nil {
		return nil, err
	}
	account := tokencache.Account{Namespace: namespace, Service: service}
	var ids []tokencache.TokenID
	for name := range strings.SplitSeq(names, ",") {
		ids = append(ids, account.TokenID(name))
	}
	return ids, nil
}

const (
	notCached = "not cached"
	noToken   = "no such token"
)

func (s *server) foundInFile(id tokencache.TokenID) found {
	f := remembered(s.fileCache, id)
	if !f.Cached() && !slices.Contains(s.file.List(), id) {
		f.State = noToken
	}
	return f
}

func (s *server) foundInIndex(ctx context.Context, id tokencache.TokenID) found {
	f := remembered(s.indexCache, id)
	doc, ok, err := s.index.Get(ctx, id)
	switch {
	case err != nil:
		f.State += "; the index cannot be asked at present"
		return f
	case !ok && f.Cached():
		f.State += ", though there is no such token any more"
		return f
	case !ok:
		f.State = noToken
		return f
	case !doc.Enabled:
		f.State += ", disabled"
	}
	f.Facts = append(f.Facts, fact{"created", doc.Created, doc.Creator})
	if store, ok := s.index.(indexsource.UseStore); ok {
		if uses, err := store.LastUses(ctx, id.Account); err == nil && !uses[id.Name].IsZero() {
			f.Facts = append(f.Facts, fact{"last used", uses[id.Name], ""})
		}
	}
	if !doc.Rotated.IsZero() {
		f.Facts = append(f.Facts, fact{"rotated", doc.Rotated, doc.RotatedBy})
	}
	if doc.PreviousExpires.After(time.Now()) {
		f.Facts = append(f.Facts, fact{"the secret before expires", doc.PreviousExpires, ""})
	}
	if !doc.Expires.IsZero() {
		f.Facts = append(f.Facts, fact{"expires", doc.Expires, ""})
	}
	return f
}

// remembered returns what a cache knows of a token.
func remembered(cache shownCache, id tokencache.TokenID) found {
	f := found{Token: id.String(), Cache: cache.Name(), State: notCached}
	if since, until, ok := cache.Remembers(id); ok {
		f.State, f.Since, f.Until = "cached", since, until
	}
	return f
}
