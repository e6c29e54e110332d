package main

import (
	"bytes"
	"flag"
	"html"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/examples/authserver/server"
	"github.com/svctoken/svctoken/examples/authserver/servertest"
	"github.com/svctoken/svctoken/fleet/fleetnats"
)

var long = flag.Bool("long", false, "run the show with a lease of 10 s, as its command does")

// TestMain makes the test binary the program, for the tests that start one.
func TestMain(m *testing.M) { servertest.Main(m, main) }

// TestShow runs the show, and holds what it says against what was seen.
func TestShow(t *testing.T) {
	before := runtime.NumGoroutine()
	var out bytes.Buffer
	pages := map[string]string{}
	var unconfirmed string
	c := &config{lease: 3 * time.Second, maxWait: time.Minute, nats: natsConfig{log: fleetnats.Config{Bucket: "test"}}}
	if *long {
		c.lease = 10 * time.Second
	}
	c.at = func(scene string, s *show) {
		if scene == "while cut" {
			unconfirmed = s.client.ask(t.Context(), "POST", s.stage.urls[1]+route+"nobody/_clear_cache", "").body
		}
		if scene == "cut" {
			pages["node1"], pages["node3"] = page(t, s, 0), page(t, s, 2)
		}
	}
	o := server.Options{Name: "node", Listen: "127.0.0.1:0", Accounts: "elastic/fleet-server", TTL: time.Hour, MaxWait: c.maxWait, Log: io.Discard}
	s, err := newShow(c, o, &out)
	if err == nil {
		err = s.run(t.Context())
	}
	if err != nil {
		t.Errorf("%d violations; %v\n%s", len(s.violations()), err, &out)
	}
	if s.stage == nil {
		return
	}
	s.invite()
	if err := s.close(); err != nil {
		t.Errorf("at the end: %v", err)
	}
	if t.Failed() {
		return
	}
	if list := s.violations(); len(list) > 0 {
		t.Errorf("%d violations\n%s", len(list), &out)
	}
	for _, r := range s.revoked {
		took, cutOff := r.returned.Sub(r.called), r.scene != "all is well" && r.token != "election"
		most := s.bound() + c.lease // a busy machine: not two leases, one after the other
		if r.token == "election" {
			most = s.bound() + 10*time.Second
		}
		if took > most {
			t.Errorf("%s: revoked after %v, want at most %v\n%s", r.token, took, most, &out)
		}
		// It waits until a lease after the last heartbeat that was heard: the violations
		// above say whether that was too short. That it waits at all is seen here.
		if cutOff && took < c.lease/10 {
			t.Errorf("%s: revoked after %v, without a wait for the node that is away\n%s", r.token, took, &out)
		}
	}
	if len(s.revoked) != 7 {
		t.Errorf("%d revocations were noted", len(s.revoked))
	}
	// The node that hears forgot at once; the one that does not went on.
	if deaf, mute := s.lastConfirmedBy("node3", "one-way"), s.lastConfirmedBy("node2", "one-way"); deaf.Before(mute.Add(c.lease / 4)) {
		t.Errorf("cut off one way each: node3, which hears nothing, confirmed last %v after node2, which does\n%s", deaf.Sub(mute), &out)
	}
	for _, want := range []string{
		`node2   evict steady: 200 after \S+; of 3 nodes 3 have forgotten it or have no lease any more, 0 not confirmed\n`,
		`node3   delete calm: has returned`, `requests sent since: node1 401, node2 401, node3 401`,
		`NATS server [123], which led, has ended`, `steady: \d+ of \d+ requests were confirmed meanwhile`,
		`node3   is cut off`, `node2   evict steady: 200 after \S+; of 3 nodes 2 have forgotten it or have no lease any more, 1 not confirmed \(node3: it has not answered, and may still be serving, until 2`,
		`node3   steady: 503, cannot tell`, `node3   serves no more: `, `requests sent since: node1 401, node2 401, node3 503`,
		`node3   evict steady: 200 after \S+; of 3 nodes 1 have forgotten it or have no lease any more, 2 not confirmed`,
		`node3   has no lease`, `node3   is healed`, `node3   cut: 401, refused`, `node2   has died`, `node2   dead: 401, refused`,
		`deleted cut +on node1, node3 was cut off: returned after \S+; the last request that was confirmed was sent \S+ before, to node`,
		`The operator is admin:\w+\n  node1   page and API: http://127.0.0.1:\d+/\n`, `run -C examples/cluster . -join nats://127.0.0.1:\d+,nats://127.0.0.1:\d+,nats://127.0.0.1:\d+ `,
		`node2   is cut off one way: what it sends is lost(.*\n)+?.*node2   has heard of a change(.*\n)+?.*node3   one-way: 503, cannot tell(.*\n)+?.*node1   delete one-way: has returned`,
		`node1   evict steady: 200 after \S+; of \d nodes \d have forgotten it or have no lease any more, 0 not confirmed\n`, `requests sent since: node1 401, node2 503, node3 503(.*\n)+?.*node2   is healed(.*\n)+?.*node2   one-way: 401, refused`,
		`evicted steady +on node1, node2 could not send, node3 could not hear: returned after`,
		`bound: \S+ after the log took it`, `answers: \d+, of which 0 confirmed what had been revoked`, `\nVERDICT: held: no answer confirmed what was revoked\n`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in:\n%s", want, &out)
		}
	}

	// The answer to an eviction that one of three nodes has not confirmed.
	const failed = `^\{"_nodes":\{"total":3,"successful":2,"failed":1,"failures":\[\{"type":"failed_node_exception","reason":"node \[(\w+)\] failed","node_id":"(\w+)",` +
		`"caused_by":\{"type":"exception","reason":"it has not answered, and may still be serving, until [^"]+"\}\}\]\},"cluster_name":"svctoken","nodes":\{"\w+":\{"name":"node[12]"\},"\w+":\{"name":"node[12]"\}\}\}$`
	if ids := regexp.MustCompile(failed).FindStringSubmatch(unconfirmed); ids == nil || ids[1] != ids[2] {
		t.Errorf("got %s, want %s", unconfirmed, failed)
	}
	for name, want := range map[string]string{
		"node1": `Fleet This node node1 \w+ Answers yes Since \d+ s ago Lease left \S+ of \S+ Applied position \d+ Log \w+ Member Heard ago Lease left, at most Applied node1 \S+ \S+ \d+ node2 \S+ \S+ \d+ node3 \S+ 0s \d+ `,
		"node3": `Fleet This node node3 \w+ Answers no, it has no lease: \S.* Since \d+ s ago .*Member .* node3 \S+ 0s \d+ `,
	} {
		if !regexp.MustCompile(want).MatchString(pages[name]) {
			t.Errorf("no %s in:\n%s", want, pages[name])
		}
	}

	// All that was started has ended, except one goroutine of the NATS server.
	for began := time.Now(); runtime.NumGoroutine() > before+1; runtime.Gosched() {
		if time.Since(began) > 20*time.Second {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
	if _, err := os.Stat(s.stage.dir); !os.IsNotExist(err) {
		t.Errorf("the servers' files were left: %v", err)
	}
	t.Logf("\n%s", &out)
}

// page returns the text of a node's page.
func page(t *testing.T, s *show, i int) string {
	t.Helper()
	body := s.client.ask(t.Context(), "GET", s.stage.urls[i]+"/", "", "Accept", "text/html").body
	body = regexp.MustCompile(`(?s)<style.*?</style>|<script.*?</script>`).ReplaceAllString(body, "")
	return strings.Join(strings.Fields(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(body, " "))), " ")
}

// TestViolations: the checker notices what it is there for.
func TestViolations(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	asked := func(second, status int, memory bool) answer {
		return answer{began: at(second), ended: at(second).Add(500 * time.Millisecond), status: status, memory: memory}
	}
	for _, test := range []struct {
		name    string
		evicted bool // from second 10 to second 20; else it is deleted
		answers []answer
		want    int
	}{
		{"refused since", false, []answer{asked(5, 200, true), asked(15, 200, true), asked(21, 401, false), asked(22, 503, false)}, 0},
		{"confirmed from memory", false, []answer{asked(15, 401, false), asked(21, 200, true)}, 1},
		{"confirmed by reading", false, []answer{asked(21, 200, false), asked(22, 200, true)}, 2},
		{"sent before it returned", false, []answer{asked(19, 200, true)}, 0},
		{"read anew", true, []answer{asked(5, 200, true), asked(15, 200, false), asked(21, 200, true)}, 0},
		{"read anew afterwards", true, []answer{asked(15, 200, true), asked(21, 200, false), asked(22, 200, true)}, 0},
		{"never read anew", true, []answer{asked(5, 200, false), asked(15, 200, true), asked(21, 200, true)}, 1},
	} {
		s := &show{revoked: []revocation{{token: "t", evicted: test.evicted, called: at(10), returned: at(20)}}}
		s.probes = []*probe{{token: "other", answers: []answer{asked(30, 200, true)}}, {token: "t", answers: test.answers}}
		if got := len(s.violations()); got != test.want {
			t.Errorf("%s: %d violations, want %d", test.name, got, test.want)
		}
	}
}

func TestBadStart(t *testing.T) {
	for _, test := range []struct {
		name, stderr string
		args         []string
	}{
		{"nobody there", "-join: nats: no servers available", []string{"-join", "nats://u:hunter2@127.0.0.1:1"}},
		{"no file", "-join: open /nowhere", []string{"-join", "@/nowhere"}},
		{"half a certificate", "-nats-cert and -nats-key come together", []string{"-join", "nats://127.0.0.1:1", "-nats-cert", "x"}},
		{"no credentials", "/nowhere", []string{"-join", "nats://127.0.0.1:1", "-nats-creds", "/nowhere"}},
		{"no authorities", "/nowhere", []string{"-join", "nats://127.0.0.1:1", "-nats-ca", "/nowhere"}},
		{"bad operator", "-admin: must be USER:PASSWORD", []string{"-admin", "nobody"}},
		{"bad address", "-listen: ", []string{"-listen", "nowhere"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if status, output := servertest.Run(test.args...); status == 0 || !strings.Contains(output, test.stderr) || strings.Contains(output, "hunter2") {
				t.Errorf("got status %d and\n%s", status, output)
			}
		})
	}
}
