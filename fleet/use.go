package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// usePrefix begins the keys of uses, one for each account: the last uses of its tokens,
// by name, in seconds since 1970. They are notes, so they clear no cache.
const usePrefix = notePrefix + "used."

// mostUses bounds how many tokens one key lists; if there are more, the latest uses are
// kept.
const mostUses = 10_000

var _ indexsource.UseStore = Index{}

func useKey(account tokencache.Account) string {
	return usePrefix + account.Namespace + "." + account.Service
}

// NoteUses notes when tokens were last used, to the second, for indexsource.KeepUses: one
// message for each account, which clears no cache. Of two times for a token the later one
// counts, whichever node has noted it. Of an account the 10 000 tokens that were used
// last are kept. The error is that of the log, or wraps [ErrNotServing].
func (x Index) NoteUses(ctx context.Context, uses map[tokencache.TokenID]time.Time) error {
	accounts := make(map[tokencache.Account]map[string]int64)
	for id, at := range uses {
		if accounts[id.Account] == nil {
			accounts[id.Account] = make(map[string]int64)
		}
		accounts[id.Account][id.Name] = at.Unix()
	}
	var errs []error
	for account, names := range accounts {
		errs = append(errs, x.noteUses(ctx, account, names))
	}
	return errors.Join(errs...)
}

func (x Index) noteUses(ctx context.Context, account tokencache.Account, names map[string]int64) error {
	key := useKey(account)
	for {
		view, err := x.view(ctx, key)
		if err != nil {
			return err
		}
		last := view.Messages[key]
		known := parseUses(last)
		if !later(known, names) {
			return nil
		}
		entry := fleetlog.Entry{Key: key, Value: marshal(known), ID: x.n.cfg.newID(), If: &last.Position}
		_, err = x.n.append(ctx, entry, nil)
		if !errors.Is(err, fleetlog.ErrConflict) && !errors.Is(err, errUnsure) { // otherwise another node has noted uses meanwhile
			return err
		}
	}
}

// LastUses returns when the tokens of an account were last used, by their names. One that
// was not used since it was created is missing, or has a use from before it was created.
func (x Index) LastUses(ctx context.Context, account tokencache.Account) (map[string]time.Time, error) {
	if err := account.Validate(); err != nil {
		return nil, err
	}
	view, err := x.view(ctx, useKey(account))
	if err != nil {
		return nil, err
	}
	uses := make(map[string]time.Time)
	for name, at := range parseUses(view.Messages[useKey(account)]) {
		uses[name] = time.Unix(at, 0)
	}
	return uses, nil
}

// parseUses parses what any tool may have written. If it is malformed, there are no uses.
func parseUses(m fleetlog.Message) map[string]int64 {
	uses := make(map[string]int64)
	if m.Deleted || json.Unmarshal(m.Value, &uses) != nil || uses == nil {
		return make(map[string]int64)
	}
	return uses
}

// later adds to the known uses those that are later, keeps the latest, and reports
// whether it added any.
func later(known, uses map[string]int64) bool {
	news := false
	for name, at := range uses {
		if at > known[name] {
			known[name], news = at, true
		}
	}
	if len(known) > mostUses {
		names := slices.SortedFunc(maps.Keys(known), func(a, b string) int {
			return cmp.Or(cmp.Compare(known[b], known[a]), cmp.Compare(a, b))
		})
		for _, name := range names[mostUses:] {
			delete(known, name)
		}
	}
	return news
}
