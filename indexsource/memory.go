package indexsource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// A Memory is an index in memory. It is lost with the process. The zero Memory is
// an empty index, ready to use, whose state is the zero [State] until SetState.
//
// It is safe for concurrent use by multiple goroutines. A change has reached every cache
// when the method that makes it returns. Its methods take a context like those of other
// indexes, but do not use it.
type Memory struct {
	mu       sync.Mutex // guards the field below
	accounts map[tokencache.Account]map[string]*stored

	watchers Watchers

	changing sync.Mutex // one change of state at a time, in order
	state    State      // guarded by changing
}

// A stored document.
type stored struct {
	Document
	used time.Time // zero: never since it was created
}

var (
	_ Index    = (*Memory)(nil)
	_ UseStore = (*Memory)(nil)
)

// Get returns the document of a token. It never fails.
func (m *Memory) Get(_ context.Context, id tokencache.TokenID) (Document, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if doc := m.accounts[id.Account][id.Name]; doc != nil {
		return doc.Document, true, nil
	}
	return Document{}, false, nil
}

// Watch tells the source of every change, and of the present state at once.
func (m *Memory) Watch(source *Source) (cancel func()) {
	m.changing.Lock()
	defer m.changing.Unlock()
	cancel = m.watchers.Add(source)
	source.StateChanged(m.state)
	return cancel
}

// Create adds an enabled token with a random secret, and returns it. Nobody can
// read the secret later. The creator is noted as it is. The error is a
// *tokencache.NameError for an invalid id, or wraps tokencache.ErrExists.
func (m *Memory) Create(ctx context.Context, id tokencache.TokenID, creator string) (tokencache.Token, error) {
	return m.CreateUntil(ctx, id, creator, time.Time{})
}

// CreateUntil is Create for a token that is refused from expires on; zero: never.
func (m *Memory) CreateUntil(_ context.Context, id tokencache.TokenID, creator string, expires time.Time) (tokencache.Token, error) {
	if err := id.ValidateNew(); err != nil {
		return tokencache.Token{}, err
	}
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	doc := Document{Token: id, Created: time.Now(), Creator: creator, Enabled: true, Expires: expires, Hash: tokenhash.New(token.Secret())}
	if !m.insert(doc) {
		return tokencache.Token{}, fmt.Errorf("%w: %s", tokencache.ErrExists, id)
	}
	m.tell(id)
	return token, nil
}

// insert adds the document unless there is one.
func (m *Memory) insert(doc Document) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.accounts[doc.Token.Account][doc.Token.Name] != nil {
		return false
	}
	m.putLocked(doc)
	return true
}

func (m *Memory) putLocked(doc Document) {
	if m.accounts == nil {
		m.accounts = make(map[tokencache.Account]map[string]*stored)
	}
	tokens := m.accounts[doc.Token.Account]
	if tokens == nil {
		tokens = make(map[string]*stored)
		m.accounts[doc.Token.Account] = tokens
	}
	var used time.Time
	if last := tokens[doc.Token.Name]; last != nil {
		used = last.used
	}
	tokens[doc.Token.Name] = &stored{doc, used}
}

// Put adds or replaces a document, as it is. The error is a *tokencache.NameError for an
// invalid id.
func (m *Memory) Put(_ context.Context, doc Document) error {
	if err := doc.Token.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	m.putLocked(doc)
	m.mu.Unlock()
	m.tell(doc.Token)
	return nil
}

// Rotate gives a token a new random secret, and returns it. The old one is good until
// the grace has passed; 0: it is refused from then on. Of several old ones the last is
// good. The document notes when, and by whom, as the host names its users. The error
// wraps tokencache.ErrNotFound, or is for a negative grace.
func (m *Memory) Rotate(_ context.Context, id tokencache.TokenID, grace time.Duration, by string) (tokencache.Token, error) {
	if grace < 0 {
		return tokencache.Token{}, fmt.Errorf("indexsource: rotate %s: the grace %v is negative", id, grace)
	}
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	err = m.change(id, func(doc *Document) {
		*doc = doc.Rotate(tokenhash.New(token.Secret()), grace, by)
	})
	if err != nil {
		return tokencache.Token{}, err
	}
	return token, nil
}

// SetExpiry sets when a token expires; the zero Time: never. The error wraps
// tokencache.ErrNotFound.
func (m *Memory) SetExpiry(_ context.Context, id tokencache.TokenID, expires time.Time) error {
	return m.change(id, func(doc *Document) { doc.Expires = expires })
}

// SetEnabled enables or disables a token. The error wraps tokencache.ErrNotFound.
func (m *Memory) SetEnabled(_ context.Context, id tokencache.TokenID, enabled bool) error {
	return m.change(id, func(doc *Document) { doc.Enabled = enabled })
}

// change changes a document, and then tells the sources.
func (m *Memory) change(id tokencache.TokenID, change func(*Document)) error {
	m.mu.Lock()
	doc := m.accounts[id.Account][id.Name]
	if doc != nil {
		change(&doc.Document)
	}
	m.mu.Unlock()
	return m.changed(id, doc != nil)
}

// Delete removes a token. The error wraps tokencache.ErrNotFound.
func (m *Memory) Delete(_ context.Context, id tokencache.TokenID) error {
	m.mu.Lock()
	tokens := m.accounts[id.Account]
	_, ok := tokens[id.Name]
	delete(tokens, id.Name)
	if ok && len(tokens) == 0 {
		delete(m.accounts, id.Account)
	}
	m.mu.Unlock()
	return m.changed(id, ok)
}

// changed tells the sources of a change, or returns tokencache.ErrNotFound if nothing was
// found.
func (m *Memory) changed(id tokencache.TokenID, found bool) error {
	if !found {
		return fmt.Errorf("%w: %s", tokencache.ErrNotFound, id)
	}
	m.tell(id)
	return nil
}

// List returns the documents of an account's tokens, sorted by token name. It never
// fails.
func (m *Memory) List(_ context.Context, account tokencache.Account) ([]Document, error) {
	m.mu.Lock()
	docs := make([]Document, 0, len(m.accounts[account]))
	for doc := range maps.Values(m.accounts[account]) {
		docs = append(docs, doc.Document)
	}
	m.mu.Unlock()
	slices.SortFunc(docs, func(a, b Document) int { return strings.Compare(a.Token.Name, b.Token.Name) })
	return docs, nil
}

// NoteUses notes when tokens were last used; see [UseStore]. It never fails.
func (m *Memory) NoteUses(_ context.Context, uses map[tokencache.TokenID]time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, at := range uses {
		if doc := m.accounts[id.Account][id.Name]; doc != nil && at.After(doc.used) {
			doc.used = at
		}
	}
	return nil
}

// LastUses returns when the tokens of an account were last used; see [UseStore]. It
// never fails.
func (m *Memory) LastUses(_ context.Context, account tokencache.Account) (map[string]time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	uses := make(map[string]time.Time)
	for name, doc := range m.accounts[account] {
		if !doc.used.IsZero() {
			uses[name] = doc.used
		}
	}
	return uses, nil
}

// SetState sets the index's state, as an engine's cluster would; see
// [Source.StateChanged].
func (m *Memory) SetState(state State) {
	m.changing.Lock()
	defer m.changing.Unlock()
	m.state = state
	for source := range m.watchers.All() {
		source.StateChanged(state)
	}
}

// tell makes the sources evict a token. It is called once the change is visible: in the
// other order, a load in between would store the old document.
func (m *Memory) tell(id tokencache.TokenID) {
	for source := range m.watchers.All() {
		source.DocumentChanged(id)
	}
}
