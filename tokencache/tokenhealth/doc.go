// Package tokenhealth tells load balancers, container platforms and scripts whether a
// process that authenticates with a tokencache.Group is alive, and whether it should get
// requests at present.
//
// For most uses, say what must be in order, and serve it without credentials:
//
//	health := tokenhealth.New(
//		tokenhealth.Source("file", file),
//		tokenhealth.Source("index", index),
//	)
//	mux.Handle("GET /_health", health)
//	mux.Handle("GET /_health/", health)
//	...
//	health.ShutDown() // before http.Server.Shutdown
//
// What it answers:
//
//	…/live       200 as long as the process answers at all
//	…/ready      200, or 503 with the reasons
//	everything else, /_health for example: as …/ready
//
// A process that is not alive should be restarted; one that is not ready should get no
// requests for a while. If an index that all processes share is down, all of them become
// not ready at once: leave it out if they should go on answering from their caches.
//
// # Concurrency
//
// A Handler is safe for concurrent use by multiple goroutines. It asks one question of each
// check at a time, for at most a second, and remembers the answer for a second. A check
// that hangs holds one goroutine, however often somebody asks.
package tokenhealth
