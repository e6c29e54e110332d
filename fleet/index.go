package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// An Index is the documents of the log. A method that changes one returns once the
// change is in force on every node; see [Node.Evict] for what its errors mean.
//
// It is safe for concurrent use by multiple goroutines.
type Index struct{ n *Node }

var _ indexsource.Index = Index{}

// Index returns the documents of the log, for indexsource.New.
func (n *Node) Index() Index { return Index{n} }

// Get returns the document of a token as it is at the position that this node has
// applied, or later. It asks again while the log answers from before that, and
// fails when the context ends, or the session. Without a session it fails at once.
func (x Index) Get(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	if err := id.Validate(); err != nil {
		return indexsource.Document{}, false, err
	}
	key := docKey(id)
	view, err := x.view(ctx, key)
	if err != nil {
		return indexsource.Document{}, false, err
	}
	return parseDoc(view.Messages[key], id)
}

// view reads keys from a view that is not older than what this node has seen.
func (x Index) view(ctx context.Context, keys ...string) (fleetlog.View, error) {
	s := x.n.current.Load()
	if s == nil {
		return fleetlog.View{}, ErrNotServing
	}
	// What is read after the session has ended must not be used, so the read ends with
	// it.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.life, func() { cancel(ErrNotServing) })()
	least, anchor := fleetlog.Position(s.seen.Load()), fleetlog.Position(s.anchor.Load())
	view, err := x.n.read(ctx, func(v fleetlog.View) error { return s.recent(v, least, anchor) }, nil, append(keys, metaKey, s.id.key())...)
	if err != nil {
		return fleetlog.View{}, err
	}
	raise(&s.seen, uint64(view.Position))
	return view, nil
}

// recent checks that a view is not older than least, and that it is of the session's log:
// the one of this identity that has the session's own heartbeat. One of the two is not
// enough. A log that was rolled back keeps its identity, and the first heartbeat may also
// be in the log before, if its first sending was not acknowledged.
func (s *session) recent(v fleetlog.View, least, anchor fleetlog.Position) error {
	if v.Position < least {
		return errBehind
	}
	if metaOf(v).Log != s.meta.Log || v.Messages[s.id.key()].Position < anchor {
		return fmt.Errorf("%w: a read answered from another", errLog)
	}
	return nil
}

// parseDoc parses a document. It fails if there are fields that this version does not
// know: they may say that the token is not good.
func parseDoc(m fleetlog.Message, id tokencache.TokenID) (indexsource.Document, bool, error) {
	if m.Position == 0 || m.Deleted {
		return indexsource.Document{}, false, nil
	}
	var record docRecord
	err := decode(m.Value, &record)
	if err == nil {
		var doc indexsource.Document
		if doc, err = record.document(id); err == nil {
			return doc, true, nil
		}
	}
	return indexsource.Document{}, false, fmt.Errorf("fleet: document %s: %w", id, err)
}

// Watch tells the source of every change before this node answers for it, and of the
// log's state when a session begins or ends.
func (x Index) Watch(source *indexsource.Source) (cancel func()) {
	x.n.changing.Lock()
	defer x.n.changing.Unlock()
	cancel = x.n.watchers.Add(source)
	source.StateChanged(x.n.state)
	return cancel
}

func (n *Node) documentChanged(id tokencache.TokenID) {
	for source := range n.watchers.All() {
		source.DocumentChanged(id)
	}
}

func (n *Node) stateChanged(state indexsource.State) {
	n.changing.Lock()
	defer n.changing.Unlock()
	n.state = state
	for source := range n.watchers.All() {
		source.StateChanged(state)
	}
}

// Create adds an enabled token with a random secret, and returns it: the secret cannot
// be read again. The creator is noted as it is. The error is a *tokencache.NameError for
// an invalid id, wraps tokencache.ErrExists, or is as in Put. After an
// [*UnconfirmedError] the token may exist, though its secret is lost: delete it.
func (x Index) Create(ctx context.Context, id tokencache.TokenID, creator string) (tokencache.Token, error) {
	return x.CreateUntil(ctx, id, creator, time.Time{})
}

// CreateUntil is Create for a token that is refused from expires on, by each node's own
// clock; zero: never.
func (x Index) CreateUntil(ctx context.Context, id tokencache.TokenID, creator string, expires time.Time) (tokencache.Token, error) {
	if err := id.ValidateNew(); err != nil {
		return tokencache.Token{}, err
	}
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	last, err := x.last(ctx, id)
	if err != nil {
		return tokencache.Token{}, err
	}
	if last.Position != 0 && !last.Deleted {
		return tokencache.Token{}, fmt.Errorf("%w: %s", tokencache.ErrExists, id)
	}
	doc := indexsource.Document{Token: id, Created: time.Now(), Creator: creator, Enabled: true, Expires: expires, Hash: tokenhash.New(token.Secret())}
	err = x.put(ctx, doc, last.Position)
	if errors.Is(err, fleetlog.ErrConflict) {
		return tokencache.Token{}, fmt.Errorf("%w: %s", tokencache.ErrExists, id)
	}
	if err != nil {
		return tokencache.Token{}, err
	}
	return token, nil
}

// Put adds or replaces a document. The error is an [*UnconfirmedError] if the change may
// have happened. Otherwise nothing was written: it is a *tokencache.NameError for an
// invalid id, wraps [ErrNotServing], tokencache.ErrClosed, fleetlog.ErrUnfit for a
// document that is larger than the log takes, or the context's error, or says why the
// log could not be read.
func (x Index) Put(ctx context.Context, doc indexsource.Document) error {
	for {
		last, err := x.last(ctx, doc.Token)
		if err != nil {
			return err
		}
		// The condition keeps an attempt that arrives late from overwriting a later
		// change.
		if err = x.put(ctx, doc, last.Position); !errors.Is(err, fleetlog.ErrConflict) {
			return err
		}
	}
}

// Rotate gives a token another random secret, and returns it with that. The secret before
// is good until the grace has passed, by each node's own clock; 0: it is refused as soon
// as Rotate has returned. By is noted as it is. The error is as in SetEnabled, or for a
// negative grace. After an [*UnconfirmedError] the token may have a secret that is lost:
// rotate it again.
func (x Index) Rotate(ctx context.Context, id tokencache.TokenID, grace time.Duration, by string) (tokencache.Token, error) {
	if grace < 0 {
		return tokencache.Token{}, fmt.Errorf("fleet: rotate %s: the grace %v is negative", id, grace)
	}
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	err = x.edit(ctx, id, func(doc *indexsource.Document) {
		*doc = doc.Rotate(tokenhash.New(token.Secret()), grace, by)
	})
	if err != nil {
		return tokencache.Token{}, err
	}
	return token, nil
}

// SetExpiry makes a token expire at a time; with the zero Time it does not expire. The
// error is as in SetEnabled.
func (x Index) SetExpiry(ctx context.Context, id tokencache.TokenID, expires time.Time) error {
	return x.edit(ctx, id, func(doc *indexsource.Document) { doc.Expires = expires })
}

// SetEnabled enables or disables a token. The error wraps tokencache.ErrNotFound if there
// is no such token, or fleetlog.ErrConflict if somebody else changed it meanwhile, or is
// as in Put.
func (x Index) SetEnabled(ctx context.Context, id tokencache.TokenID, enabled bool) error {
	return x.edit(ctx, id, func(doc *indexsource.Document) { doc.Enabled = enabled })
}

// Delete removes a token. The error is as in SetEnabled.
func (x Index) Delete(ctx context.Context, id tokencache.TokenID) error {
	last, err := x.existing(ctx, id)
	if err != nil {
		return err
	}
	return x.write(ctx, fleetlog.Entry{Key: docKey(id), Delete: true, Value: marshal(docRecord{Answer: x.n.address}), If: &last.Position})
}

// last returns the last message of a token's document.
func (x Index) last(ctx context.Context, id tokencache.TokenID) (fleetlog.Message, error) {
	if err := id.Validate(); err != nil {
		return fleetlog.Message{}, err
	}
	view, err := x.view(ctx, docKey(id))
	return view.Messages[docKey(id)], err
}

// existing is last for a token that must exist.
func (x Index) existing(ctx context.Context, id tokencache.TokenID) (fleetlog.Message, error) {
	last, err := x.last(ctx, id)
	if err == nil && (last.Position == 0 || last.Deleted) {
		err = fmt.Errorf("%w: %s", tokencache.ErrNotFound, id)
	}
	return last, err
}

// edit changes a document, which must exist.
func (x Index) edit(ctx context.Context, id tokencache.TokenID, change func(*indexsource.Document)) error {
	last, err := x.existing(ctx, id)
	if err != nil {
		return err
	}
	doc, _, err := parseDoc(last, id)
	if err != nil {
		return err
	}
	change(&doc)
	return x.put(ctx, doc, last.Position)
}

// put writes a document, if the last message of its key is the one at a position.
func (x Index) put(ctx context.Context, doc indexsource.Document, last fleetlog.Position) error {
	return x.write(ctx, fleetlog.Entry{Key: docKey(doc.Token), Value: marshal(newDocRecord(doc, x.n.address)), If: &last})
}

// List returns the documents of an account's tokens, sorted by token name. Documents that
// cannot be read are left out. The error is that of the log. It wraps fleetlog.ErrUnfit
// if the log cannot list so many tokens at once.
func (x Index) List(ctx context.Context, account tokencache.Account) ([]indexsource.Document, error) {
	if err := account.Validate(); err != nil {
		return nil, err
	}
	view, err := x.view(ctx, docPrefix+account.Namespace+"."+account.Service+".*")
	if err != nil {
		return nil, err
	}
	var docs []indexsource.Document
	for key, m := range view.Messages {
		id, ok := parseDocKey(key)
		if !ok {
			continue
		}
		if doc, ok, err := parseDoc(m, id); ok && err == nil {
			docs = append(docs, doc)
		}
	}
	slices.SortFunc(docs, func(a, b indexsource.Document) int { return strings.Compare(a.Token.Name, b.Token.Name) })
	return docs, nil
}

// write appends a document's change and waits until it is in force everywhere.
func (x Index) write(ctx context.Context, entry fleetlog.Entry) error {
	entry.ID = x.n.cfg.newID()
	_, err := x.n.spread(ctx, entry)
	return err
}
