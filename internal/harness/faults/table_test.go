package faults_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// What callers see.
const (
	firstUses  = "503 at first uses; what is remembered goes on"
	allRefused = "401 for its tokens"
	allFail    = "503 for every service token"
	nothing    = "nothing"
)

var (
	attacked = tokencache.GroupConfig{MaxHashing: 1, MaxQueue: 64, MaxWait: time.Second}
	down     = []string{"SvctokenNoAnswer", "SvctokenSourceDown"}
)

func ended(reason string) string {
	return `increase(svctoken_loads_ended_total{reason="` + reason + `"}[10s]) > 0`
}

var faults = []fault{
	{"all is well", nothing, `svctoken_authentications_total{outcome="confirmed"} > 0`, "", nil, source(func(*host) {})},
	{"cold start", "a wait at first uses", ended("none"), "", nil, coldStart},

	{"a source fails", firstUses, ended("source_failed"), `msg="the source fails"`, down,
		source(func(h *host) { h.src.SetError(errRoute) })},
	{"a source fails, and most users log in otherwise", firstUses, ended("source_failed"), `msg="the source fails"`, down, otherLogins},
	{"a source hangs", firstUses, ended("source_timeout"), `reason=source_timeout`, down,
		source(func(h *host) { h.src.SetLatency(time.Hour) })},
	{"a source hangs and ignores its context", firstUses, `svctoken_cache_abandoned > 0`, `reason=source_timeout`,
		append([]string{"SvctokenSourceIgnoresContext"}, down...), source(ignoring)},
	{"a source panics", firstUses, ended("source_panicked"), `msg="the source panicked"`,
		append([]string{"SvctokenSourcePanicked"}, down...), source(func(h *host) { h.src.SetPanic("a nil map") })},
	{"a source is slow", "a long wait at first uses", `histogram_quantile(0.5, rate(svctoken_load_duration_seconds_bucket{outcome="confirmed"}[10s])) > 0.7`, "",
		[]string{"SvctokenSourceSlow"}, slowSource},
	{"a source fails now and then", "503 at some first uses", ended("source_failed"), `msg="the source fails"`,
		[]string{"SvctokenNoAnswer"}, source(flaky)},

	{"strangers guess secrets, and wait", nothing, `svctoken_authentications_total{outcome="refused"} > 100`, "", nil,
		strangers(tokencache.GroupConfig{}, 0, func(h *host) { guess(h, unused(), 5*time.Second) })},
	{"strangers guess more than can be hashed", nothing, `svctoken_authentications_total{outcome="overloaded"} > 0`, `msg="authentications are turned away`, nil,
		strangers(attacked, 20*time.Millisecond, func(h *host) { guess(h, unused(), 5*time.Second) })},
	{"strangers guess, and hang up", nothing, `svctoken_authentications_total{outcome="gave_up"} > 100`, "", nil,
		strangers(attacked, 20*time.Millisecond, func(h *host) { guess(h, unused(), 30*time.Millisecond) })},
	{"strangers invent names", nothing, `svctoken_authentications_total{outcome="refused"} > 100`, "", nil,
		strangers(tokencache.GroupConfig{}, 0, func(h *host) { guess(h, "x"+unused(), 5*time.Second) })},
	{"an eviction storm", "a wait, as nothing is remembered for long", `increase(svctoken_evictions_total{cause="asked"}[10s]) > 20`, `msg="many evictions within a second"`,
		[]string{"SvctokenEvictionStorm"}, storm},

	{"the file is broken", nothing + "; changes of it are not in force", `svctoken_file_ok == 0`, `msg="service tokens file not loaded"`,
		[]string{"SvctokenFileNotLoaded"}, file(replace("no token at all\n"))},
	{"the file is gone", allRefused, `svctoken_file_missing == 1`, `msg="service tokens file is gone"`,
		[]string{"SvctokenFileGone"}, file(remove)},
	{"the file is emptied", allRefused, `svctoken_file_tokens == 0`, `most tokens have gone`,
		[]string{"SvctokenFileShrank"}, file(replace(""))},
	{"a pipe is in the file's place", nothing + "; changes of it are not in force", `svctoken_file_ok == 0`, `not a regular file`,
		[]string{"SvctokenFileNotLoaded"}, file(pipe)},

	{"the index is red", nothing + ", or 503 at first uses", `svctoken_index_health{health="red"} == 1`, "",
		[]string{"SvctokenIndexDown"}, health(indexsource.HealthRed)},
	{"there is no index", nothing + ", or 503 at first uses", `svctoken_index_health{health="none"} == 1`, "",
		[]string{"SvctokenIndexDown"}, health(indexsource.HealthNone)},
	{"the database is gone", firstUses, `svctoken_index_ok == 0`, `the database file was removed or replaced`,
		append([]string{"SvctokenIndexDown", "SvctokenIndexBehind"}, down...), database(moveAway)},
	{"the database's disk is full", "503 for changes", `svctoken_changes_total{outcome="failed"} > 0`, `msg="a change has failed"`,
		[]string{"SvctokenChangeFailed"}, fullDisk},

	{"NATS is gone, which holds the log", allFail, `svctoken_fleet_serving == 0`, `msg="the node does not serve`,
		[]string{"SvctokenNodeNotServing", "SvctokenNoAnswer"}, natsGone},
	{"the fleet's log is gone", allFail, `svctoken_fleet_serving == 0`, `msg="the node does not serve`,
		[]string{"SvctokenNodeNotServing", "SvctokenNoAnswer"}, fleetOf(func(n *node) { n.conn.Cut(true, true) })},
	{"the fleet's log is full", allFail, `svctoken_fleet_serving == 0`, `maximum bytes exceeded`,
		[]string{"SvctokenNodeNotServing", "SvctokenNoAnswer"}, fleetOf(func(n *node) { n.full.full.Store(true) })},
	{"the fleet's log is restored from a backup", "503 for a lease at most; then what was revoked since is good again", `resets(svctoken_fleet_applied[30s]) > 0`, `msg="the log was restored or made anew`,
		[]string{"SvctokenLogWentBack"}, fleetOf(func(n *node) { n.log.RollBack(n.log.Last() / 2) })},
	{"the fleet's log is made anew", "503 for a lease at most; then 401 for the tokens that it had", `resets(svctoken_fleet_applied[30s]) > 0`, `msg="the log was restored or made anew`,
		[]string{"SvctokenLogWentBack"}, fleetOf(func(n *node) { n.log.Recreate() })},
	{"the fleet's log is slow", nothing + "; changes take longer", `svctoken_fleet_renewal_age_seconds > 0.4 * svctoken_fleet_lease_seconds`, "",
		[]string{"SvctokenLeaseShort"}, slowLog},
	{"a node is started with another lease than the log's", nothing + ": the log's lease holds", fmt.Sprintf("svctoken_fleet_lease_seconds == %v", lease.Seconds()), "",
		nil, otherLease},
	{"a lease lapses again and again", "503 now and then", `increase(svctoken_fleet_events_total{event="stopped"}[10s]) > 1`, `msg="the node does not serve`,
		[]string{"SvctokenNodeUnstable", "SvctokenNoAnswer"}, fleetOf(flap)},
}

// slowSource takes longer than a second for each read.
func slowSource(t *testing.T) (*host, func()) {
	h := newHost(t, "", tokencache.GroupConfig{})
	cache(h, "source", &h.src, tokencache.Config{TTL: 2 * time.Second})
	h.fill(20, 0)
	h.serve()
	return h, func() { h.src.SetLatency(1500 * time.Millisecond) }
}

// flap cuts the node off for two leases, every four.
func flap(n *node) {
	n.every(4*lease, func() {
		n.conn.Cut(true, true)
		select {
		case <-time.After(2 * lease):
		case <-n.ctx.Done():
		}
		n.conn.Heal()
	})
}
