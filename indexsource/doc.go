// Package indexsource answers for service account tokens that live in an index: a
// store of documents, one for each token, shared by all nodes of a host.
//
// For most uses, wrap an [Index] and give it to a cache:
//
//	source := indexsource.New(index)
//	cache, err := tokencache.New(group, "index", source, tokencache.Config{})
//
// [Memory] is an index in the process's own memory, for tests, examples and hosts
// of one node. Package sqlindex, a module beneath this package, has one in SQLite or
// PostgreSQL.
//
// # Adapters
//
// An adapter for a real engine implements [Index], which has two methods: one gets a
// document, the other passes on the engine's changes, by calling
// [Source.DocumentChanged], [Source.AccountChanged], [Source.EverythingChanged] and
// [Source.StateChanged]. If an engine reports no changes, the second method does nothing,
// and the host calls these four when it hears of a change in another way. docs/sources.md
// shows an adapter.
//
// # Concurrency
//
// All types are safe for concurrent use by multiple goroutines. [KeepUses] starts a
// goroutine, nothing else does.
package indexsource
