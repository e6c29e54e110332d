// Package tokenlog writes what an operator must know of a tokencache.Group, and of its
// place in a fleet, to a log/slog logger.
//
// For most uses, make it the group's observer:
//
//	logs := tokenlog.New(tokenlog.Config{Logger: logger})
//	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: logs.Observe})
//
// Nothing is logged for each request, not even during an attack or an outage: repetitions
// are counted, and the next line has their number.
//
//	Error  a source has panicked for the first time, with the stack; later panics are failures
//	Error  every load of a cache has failed for a minute: told once for each outage
//	Warn   loads of a cache fail: the first of an outage, a change of the reason, and then how many each minute
//	Warn   authentications are turned away: the first, and then how many each minute
//	Warn   a cache is full, and forgets tokens to make room: once an hour
//	Warn   the node does not serve, or cannot join its fleet: the first, a change of the reason, and then each minute
//	Warn   the fleet's log was restored or made anew: a node joins it before what it had applied
//	Info   a source answers again: for how long it had not, and how many loads failed
//	Info   the node serves
//	Info   an eviction or a clearing, except those below: one line a second at most, with their number
//	Debug  an eviction that a source asked for, as some of its tokens changed, or a Close
//
// A source that fails and answers by turns is reported three times, and then every two
// minutes. So is a node that leaves its fleet and joins again.
//
// Refusals are not logged: somebody who sends wrong tokens must not fill the disk. They
// are counted in tokencache.Stats.
//
// No line has a secret, as no event has one.
package tokenlog
