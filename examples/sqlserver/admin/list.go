package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A token is a document and the time of its last use.
type token struct {
	indexsource.Document
	used time.Time // zero: never
}

// unusedFor reports whether nobody has used the token for so long.
func (t token) unusedFor(d time.Duration) bool {
	last := t.Created
	if t.used.After(last) {
		last = t.used
	}
	return time.Since(last) >= d
}

// state returns one word that says whether the token is accepted.
func (t token) state() string {
	switch {
	case !t.Enabled:
		return "disabled"
	case !t.Expires.IsZero() && !time.Now().Before(t.Expires):
		return "expired"
	default:
		return "enabled"
	}
}

// tokens yields the tokens of an account, or of all for the zero Account.
func (s sqlStore) tokens(ctx context.Context, account tokencache.Account) iter.Seq2[token, error] {
	docs := s.All(ctx)
	if account != (tokencache.Account{}) {
		docs = s.ofAccount(ctx, account)
	}
	return func(yield func(token, error) bool) {
		var of tokencache.Account
		var uses map[string]time.Time
		for doc, err := range docs {
			if err == nil && (uses == nil || of != doc.Token.Account) {
				of = doc.Token.Account
				uses, err = s.LastUses(ctx, of)
			}
			if !yield(token{doc, uses[doc.Token.Name]}, err) || err != nil {
				return
			}
		}
	}
}

func (s sqlStore) ofAccount(ctx context.Context, account tokencache.Account) iter.Seq2[indexsource.Document, error] {
	return func(yield func(indexsource.Document, error) bool) {
		docs, err := s.List(ctx, account)
		if err != nil {
			yield(indexsource.Document{}, err)
			return
		}
		for _, doc := range docs {
			if !yield(doc, nil) {
				return
			}
		}
	}
}

func (c *command) list(ctx context.Context, index sqlStore) error {
	return c.eachUnused(ctx, index, c.printToken)
}

// eachUnused calls do with each token that nobody has used for the time of -unused, and
// then prints a warning if uses may not have been kept for so long.
func (c *command) eachUnused(ctx context.Context, index sqlStore, do func(token) error) error {
	never, kept := 0, false
	for t, err := range index.tokens(ctx, c.account) {
		if err != nil {
			return err
		}
		kept = kept || !t.used.IsZero() && time.Since(t.used) >= time.Duration(c.unused)
		if !t.unusedFor(time.Duration(c.unused)) {
			continue
		}
		if t.used.IsZero() {
			never++
		}
		if err := do(t); err != nil {
			return err
		}
	}
	if c.unused > 0 && never > 0 && !kept {
		fmt.Fprintf(c.stderr, "admin: %d of them have no use noted, and no use of any token is noted from before %v ago: if servers keep uses only since then, they may have been used\n", never, &c.unused)
	}
	return nil
}

// printToken prints the columns id, state, created, creator, expires, last use, rotated,
// and by whom; what has not happened is a minus.
func (c *command) printToken(t token) error {
	object := line{
		"token": t.Token.String(), "state": t.state(), "created": stamp(t.Created), "creator": t.Creator,
		"expires": orNull(t.Expires), "last_used": orNull(t.used), "rotated": orNull(t.Rotated), "rotated_by": t.RotatedBy,
		"previous_good_until": orNull(t.PreviousExpires),
	}
	return c.print(object, t.Token.String(), t.state(), stamp(t.Created), fmt.Sprintf("%q", t.Creator),
		stamp(t.Expires), stamp(t.used), stamp(t.Rotated), fmt.Sprintf("%q", t.RotatedBy))
}

func (c *command) listFile(file fileStore) error {
	for _, text := range file.warnings() { // lines that the list lacks
		fmt.Fprintf(c.stderr, "admin: %s\n", text)
	}
	for _, id := range file.List() {
		if c.account != (tokencache.Account{}) && c.account != id.Account {
			continue
		}
		if err := c.print(line{"token": id.String(), "state": "enabled"}, id.String(), "enabled"); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) history(ctx context.Context, index sqlStore) error {
	events, err := index.History(ctx, c.account, c.id.Name, c.limit)
	if err != nil {
		return err
	}
	for _, e := range events {
		object := line{"at": stamp(e.At), "token": e.Token.String(), "what": e.What, "by": e.By, "revision": e.Rev}
		if err := c.print(object, stamp(e.At), e.Token.String(), e.What, fmt.Sprintf("%q", e.By)); err != nil {
			return err
		}
	}
	return nil
}

// A line is an object that -json prints on one line.
type line map[string]any

// print prints a line: with -json the object, else the columns, with tabs.
func (c *command) print(object line, columns ...string) error {
	text := strings.Join(columns, "\t")
	if c.json {
		b, err := json.Marshal(object)
		if err != nil {
			return err
		}
		text = string(b)
	}
	_, err := fmt.Fprintln(c.stdout, text)
	return err
}

// stamp formats a time; the zero Time is a minus.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// orNull is stamp for JSON.
func orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t)
}
