package tokenmetrics

import "github.com/svctoken/svctoken/tokencache"

var (
	authentications = define("authentications", "", "Authentications, by how they ended.", Counter)
	hashing         = define("hashing", "", "Password hashes that are being computed.", Gauge)
	hashingWaiting  = define("hashing_waiting", "", "Loads that wait for their turn to compute a password hash.", Gauge)
)

// cacheMetrics are the numbers of each cache.
var cacheMetrics = []struct {
	metric *metric
	read   func(tokencache.Stats) float64
}{
	{define("cache.hits", "", "Authentications confirmed from memory.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Hits) }},
	{define("cache.mismatches", "", "Wrong secrets for remembered tokens, refused from memory.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Mismatches) }},
	{define("cache.absent", "", "Authentications refused from memory, as the source had said that it does not hold the token.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Absent) }},
	{define("cache.misses", "", "Authentications that waited for a load.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Misses) }},
	{define("cache.loads", "", "Loads begun.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Loads) }},
	{define("cache.load_refusals", "", "Loads in which the source did not confirm the token.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Refusals) }},
	{define("cache.load_errors", "", "Loads that failed.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Errors) }},
	{define("cache.loads_discarded", "", "Loads that were not stored, as an eviction came first, they took too long, or no caller waited any more.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Discarded) }},
	{define("cache.stored", "", "Verdicts stored.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Stored) }},
	{define("cache.refreshed", "", "Verdicts stored ahead of an expiry.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Refreshed) }},
	{define("cache.stale", "", "Authentications confirmed past the time, as the source did not answer.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Stale) }},
	{define("cache.evicted", "", "Entries that evictions and clearings removed.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Evicted) }},
	{define("cache.expired", "", "Entries removed as they were past their time.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Expired) }},
	{define("cache.displaced", "", "Entries removed to make room.", Counter),
		func(st tokencache.Stats) float64 { return float64(st.Displaced) }},
	{define("cache.entries", "", "Verdicts that are remembered.", Gauge),
		func(st tokencache.Stats) float64 { return float64(st.Entries) }},
	{define("cache.loading", "", "Loads that are reading.", Gauge),
		func(st tokencache.Stats) float64 { return float64(st.Loading) }},
	{define("cache.loads_waiting", "", "Loads that wait for their turn to read.", Gauge),
		func(st tokencache.Stats) float64 { return float64(st.Waiting) }},
	{define("cache.abandoned", "", "Loads that run on, though they have taken too long or the cache is closed.", Gauge),
		func(st tokencache.Stats) float64 { return float64(st.Abandoned) }},
}

// group adds the counters of a group and of its caches.
func (c *collection) group(g *tokencache.Group) {
	st := g.Stats()
	ended := func(outcome string, n uint64) { c.add(authentications, float64(n), Label{"outcome", outcome}) }
	ended("confirmed", st.Confirmed)
	ended("refused", st.Refused)
	ended("not_service_token", st.NotServiceTokens)
	ended("overloaded", st.Overloaded)
	ended("closed", st.Closed)
	ended("gave_up", st.GaveUp)
	ended("lapsed", st.Lapsed)
	ended("no_answer", st.NoAnswer)
	c.add(hashing, float64(st.Hashing))
	c.add(hashingWaiting, float64(st.Waiting))
	for name, st := range g.Caches() {
		for _, m := range cacheMetrics {
			c.add(m.metric, m.read(st), Label{"cache", name})
		}
	}
}
