// Package tokenotel shows a tokencache.Group to OpenTelemetry: metrics of what it
// counts, and spans of what takes time.
//
// For most uses, make it the group's observer, and watch the group:
//
//	telemetry, err := tokenotel.New(tokenotel.Config{})
//	...
//	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: telemetry.Observe})
//	registration, err := telemetry.Watch(group)
//	...
//	defer registration.Unregister()
//
// A load and an eviction are a span each, below the span of the caller who caused
// them. A hit has no span and costs nothing more: its counter is read when the
// metrics are collected.
//
// Metrics, all with the attribute svctoken.cache unless they are the group's:
//
//	svctoken.authentications   {authentication}  counter, by svctoken.outcome; the group's
//	svctoken.hashing           {hash}            hashes being computed; the group's
//	svctoken.cache.lookups     {lookup}          counter, by svctoken.result: hit, mismatch, absent, miss, stale
//	svctoken.cache.removals    {entry}           counter, by svctoken.removal: evicted, expired, displaced
//	svctoken.cache.entries     {entry}           verdicts that are remembered
//	svctoken.load.active       {load}            loads that are reading
//	svctoken.load.strays       {load}            loads that run on, though they took too long
//	svctoken.load.duration     s                 histogram, by svctoken.reason
//	svctoken.evictions         {eviction}        counter, by svctoken.cause; the group's
//	svctoken.turned_away       {authentication}  counter, by svctoken.reason
//
// No attribute has a secret. Spans name the token; metrics do not, as what clients
// send must not multiply them.
package tokenotel
