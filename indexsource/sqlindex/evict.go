package sqlindex

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// Evictor returns an evictor for every cache of the group, and, on every other node of
// the database, for each group that was given to its Evictor. From now on, as long as a
// source watches the index, this process also evicts from the group what other nodes
// ask for.
//
// When a call of its Evict or EvictSelector returns, this process has forgotten what it
// selects. Every other node has once Config.Poll and the time of one read have passed, or
// at once with package pglisten: nothing more is known of the others, so the report
// covers this process alone, and says so in Others. The error says that the others may
// not have been told: it wraps [ErrUnconfirmed] or tokencache.ErrClosed, or is an
// [*EngineError]; of Evict it may be an *evict.SelectorError, and then nothing was
// evicted.
func (ix *Index) Evictor(group *tokencache.Group) evict.Evictor {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if !slices.Contains(ix.groups, group) {
		ix.groups = append(slices.Clip(ix.groups), group)
	}
	return evictor{ix, evict.New(group)}
}

type evictor struct {
	ix    *Index
	local *evict.Local
}

func (e evictor) Evict(ctx context.Context, namespace, service, names string) (evict.Report, error) {
	sel, err := evict.Parse(namespace, service, names)
	if err != nil {
		return evict.Report{}, err
	}
	return e.EvictSelector(ctx, sel)
}

func (e evictor) EvictSelector(ctx context.Context, sel tokencache.Selector) (evict.Report, error) {
	began := time.Now()
	report, err := e.local.EvictSelector(ctx, sel)
	if err == nil {
		err = e.ix.publish(ctx, sel)
	}
	if err == nil {
		report.Others = "the other servers of the database, at their next poll"
	}
	report.Duration = time.Since(began)
	return report, err
}

// publish writes an eviction into the table of changes.
func (ix *Index) publish(ctx context.Context, sel tokencache.Selector) error {
	account := sel.Account()
	names := strings.TrimPrefix(sel.String(), account.String()+"/")
	_, err := ix.change(ctx, change{
		op: "evict", by: indexsource.Actor(ctx), bump: true,
		query: "INSERT INTO svctoken_changes (rev, kind, namespace, service, name) SELECT rev, '" + kindEvict + "', $1, $2, $3 FROM svctoken_meta",
		args:  []any{account.Namespace, account.Service, names},
		tell:  func(*indexsource.Source) {}, // the group has evicted already
	})
	return err
}

// applyEvictions makes the groups forget what any node has evicted since the last poll.
// That includes this node's own evictions, which happen once more, to what was loaded in
// between.
func (ix *Index) applyEvictions(n news, seen position) {
	ix.mu.Lock()
	groups := ix.groups
	ix.mu.Unlock()
	for _, group := range groups {
		switch {
		case n.doubtful(seen):
			group.Invalidator().Clear(context.Background(), tokencache.CauseNode)
		case len(n.evicted) > 0:
			group.Invalidator().Evict(context.Background(), tokencache.CauseNode, n.evicted...)
		}
	}
}
