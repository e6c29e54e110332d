package indexsource

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// ErrExists is wrapped by the error of [Memory.Create] for a token that the index
// has: a conflict.
var ErrExists = errors.New("indexsource: the token exists already")

// A Memory is an index in memory. It is lost with the process. The zero Memory is
// an empty index, ready to use, whose state is the zero [State] until SetState.
//
// It is safe for concurrent use by multiple goroutines. A change has reached every
// cache when the method that makes it returns.
type Memory struct {
	mu       sync.Mutex // guards the fields below
	docs     map[tokencache.TokenID]Document
	watchers map[*watcher]struct{}

	changing sync.Mutex // one change of state at a time, in order
	state    State      // guarded by changing
}

type watcher struct{ *Source }

var _ Index = (*Memory)(nil)

// Get returns the document of a token. It never fails.
func (m *Memory) Get(_ context.Context, id tokencache.TokenID) (Document, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	doc, ok := m.docs[id]
	return doc, ok, nil
}

// Watch has the source told of every change, and of the present state at once.
func (m *Memory) Watch(source *Source) (cancel func()) {
	w := &watcher{source}
	m.changing.Lock()
	defer m.changing.Unlock()
	m.mu.Lock()
	if m.watchers == nil {
		m.watchers = make(map[*watcher]struct{})
	}
	m.watchers[w] = struct{}{}
	m.mu.Unlock()
	source.StateChanged(m.state)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, w)
	}
}

// Create adds an enabled token with a random secret, and returns it. Nobody can
// read the secret later. The creator is noted as it is. The error is a
// *tokencache.NameError for an invalid id, or wraps [ErrExists].
func (m *Memory) Create(id tokencache.TokenID, creator string) (tokencache.Token, error) {
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	doc := Document{Token: id, Created: time.Now(), Creator: creator, Enabled: true, Hash: tokenhash.New(token.Secret())}
	if !m.insert(doc) {
		return tokencache.Token{}, fmt.Errorf("%w: %s", ErrExists, id)
	}
	m.tell(id)
	return token, nil
}

// insert adds the document unless there is one.
func (m *Memory) insert(doc Document) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.docs[doc.Token]; ok {
		return false
	}
	m.putLocked(doc)
	return true
}

func (m *Memory) putLocked(doc Document) {
	if m.docs == nil {
		m.docs = make(map[tokencache.TokenID]Document)
	}
	m.docs[doc.Token] = doc
}

// Put adds or replaces a document. The error is a *tokencache.NameError for an
// invalid id.
func (m *Memory) Put(doc Document) error {
	if err := doc.Token.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	m.putLocked(doc)
	m.mu.Unlock()
	m.tell(doc.Token)
	return nil
}

// SetEnabled enables or disables a token, and reports whether there is one.
func (m *Memory) SetEnabled(id tokencache.TokenID, enabled bool) bool {
	return m.change(id, func(doc Document) {
		doc.Enabled = enabled
		m.docs[id] = doc
	})
}

// Delete removes a token, and reports whether there was one.
func (m *Memory) Delete(id tokencache.TokenID) bool {
	return m.change(id, func(Document) { delete(m.docs, id) })
}

// change changes a document under mu, where there is one, and then tells.
func (m *Memory) change(id tokencache.TokenID, change func(Document)) bool {
	m.mu.Lock()
	doc, ok := m.docs[id]
	if ok {
		change(doc)
	}
	m.mu.Unlock()
	if ok {
		m.tell(id)
	}
	return ok
}

// List returns the documents of an account's tokens, sorted by token name.
func (m *Memory) List(account tokencache.Account) []Document {
	m.mu.Lock()
	defer m.mu.Unlock()
	var docs []Document
	for id, doc := range m.docs {
		if id.Account == account {
			docs = append(docs, doc)
		}
	}
	slices.SortFunc(docs, func(a, b Document) int { return strings.Compare(a.Token.Name, b.Token.Name) })
	return docs
}

// SetState sets the index's state, as an engine's cluster would; see
// [Source.StateChanged].
func (m *Memory) SetState(state State) {
	m.changing.Lock()
	defer m.changing.Unlock()
	m.state = state
	for _, w := range m.watching() {
		w.StateChanged(state)
	}
}

// tell has the sources evict a token. The change is visible by now: the other way
// round, a load in between would store the old document.
func (m *Memory) tell(id tokencache.TokenID) {
	for _, w := range m.watching() {
		w.DocumentChanged(id)
	}
}

func (m *Memory) watching() []*watcher {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.watchers))
}
