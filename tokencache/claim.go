package tokencache

import (
	"context"
	"errors"
)

// A Claim is a fleet node's hold on a group: it passes on to the group what other nodes
// have evicted, and its holder alone should extend the group's lease. Package fleet
// makes one for each node.
//
// It is safe for concurrent use by multiple goroutines.
type Claim struct{ group *Group }

// Claim claims the group. A group has one claim at a time: a second node would extend
// the lease that the first one lets lapse. The error says that there is a claim, which
// Claim.Release ends.
func (g *Group) Claim() (*Claim, error) {
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	if g.claim != nil {
		return nil, errors.New("tokencache: the group has been claimed already, by another node of a fleet")
	}
	g.claim = &Claim{g}
	return g.claim, nil
}

// Evict is [Group.Evict] for what another node has evicted: observers are told
// [CauseNode].
func (c *Claim) Evict(ctx context.Context, sels ...Selector) map[string]int {
	return c.group.evict(ctx, CauseNode, c.group.caches(), sels, selectionOf(sels))
}

// Clear is [Group.Clear] for what another node may have evicted: observers are told
// [CauseNode].
func (c *Claim) Clear(ctx context.Context) map[string]int {
	return c.group.evict(ctx, CauseNode, c.group.caches(), nil, selection{everything: true})
}

// Release ends the claim. The group's lease stays as it is. Releasing again does
// nothing.
func (c *Claim) Release() {
	c.group.memory.mu.Lock()
	defer c.group.memory.mu.Unlock()
	if c.group.claim == c {
		c.group.claim = nil
	}
}
