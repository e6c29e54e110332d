// Package tokenlog writes what an operator must know of a tokencache.Group to a
// log/slog logger.
//
// For most uses, make it the group's observer:
//
//	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: tokenlog.New(logger)})
//
// Nothing is logged for each request, not even during an attack or an outage:
// what repeats is counted, and told once a minute.
//
//	Error  a source has panicked for the first time, with the stack; later panics are failures
//	Error  every load of a cache has failed for a minute: told once for each outage
//	Warn   loads of a cache fail: the first, and then how many each minute
//	Warn   authentications are turned away: the first, and then how many each minute
//	Warn   a cache is full, and forgets tokens to make room: once an hour
//	Info   a source answers again: for how long it had not, and how many loads failed
//	Info   an eviction or a clearing, but for those below
//	Debug  an eviction that a source asked for, as some of its tokens changed, or a Close
//
// Refusals are not logged: whoever sends wrong tokens must not fill the disk. They
// are counted in tokencache.Stats.
//
// No line has a secret, as no event has one.
package tokenlog
