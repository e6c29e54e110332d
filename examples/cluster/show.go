package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/examples/authserver/server"
	"github.com/svctoken/svctoken/fleet"
)

// The show's tokens. The first is evicted and stays good; each of the others is
// deleted in a scene of its own.
var tokenNames = []string{"steady", "calm", "election", "cut", "dead", "one-way"}

// route is where tokens of the show's account are administered.
const route = "/_security/service/elastic/fleet-server/credential/token/"

// A show runs the scenes on a stage, and keeps what was seen.
type show struct {
	*timeline
	c        *config
	stage    *stage
	client   *client
	operator string            // USER:PASSWORD
	bearers  map[string]string // by token
	probes   []*probe          // with those that have ended
	revoked  []revocation
	mute     atomic.Value // string: the node that can hear but not send; empty: none
}

// A revocation is a deletion or an eviction that has returned.
type revocation struct {
	token            string
	evicted          bool   // evicted, not deleted: it may be confirmed once it was read anew
	node             string // the node that was asked
	scene            string
	called, returned time.Time
}

func newShow(c *config, o server.Options, out io.Writer) (*show, error) {
	s := &show{timeline: &timeline{out: out, began: time.Now()}, c: c, bearers: map[string]string{}}
	if o.Out == nil {
		o.Out = io.Discard
	}
	var err error
	if s.operator, err = o.Operator(); err != nil {
		return nil, err
	}
	if s.operator == "" {
		s.operator = "admin:" + rand.Text()
		o.Admin = s.operator
	}
	s.client = newClient(s.operator)
	s.say("-", "three NATS servers keep a log together, and sync each write; three auth servers share it")
	s.say("-", "a lease is %v; %s1 waits for others until their lease is over, the others a quarter of it", c.lease, o.Name)
	s.stage, err = newStage(c, o, s.told)
	return s, err
}

// told receives the events of the auth servers.
func (s *show) told(name string, e fleet.Event) {
	switch e.Kind {
	case fleet.EventServing:
		s.say(name, "serves, at position %d of the log", e.Position)
	case fleet.EventStopped:
		s.say(name, "serves no more: %v", e.Err)
	case fleet.EventApplied:
		if s.mute.Load() == name {
			s.say(name, "has heard of a change, and forgets: position %d", e.Position)
		}
	}
}

// close ends the probes, the servers and the connections.
func (s *show) close() error {
	for _, p := range s.probes {
		p.end()
	}
	err := s.stage.close()
	s.client.http.CloseIdleConnections()
	return err
}

// run runs the scenes. An error means that a scene could not be played; violations
// returns the wrong answers.
func (s *show) run(ctx context.Context) error {
	for _, scene := range []struct {
		name, title string
		run         func(context.Context) error
	}{
		{"create", "Tokens are created on one server, and known to all", s.create},
		{"evict", "A token is evicted everywhere, and read anew", s.evict},
		{"calm", "A token is deleted", s.calm},
		{"election", "The NATS server that leads the log is ended", s.election},
		{"cut", "An auth server is cut off from NATS", s.cut},
		{"heal", "It is healed", s.heal},
		{"dead", "An auth server dies, and another takes its place", s.dead},
		{"one-way", "What one auth server sends is lost, and another hears nothing", s.oneWay},
	} {
		s.title(scene.title)
		limited, cancel := context.WithTimeout(ctx, time.Minute+5*s.c.lease)
		err := scene.run(limited)
		cancel()
		if err != nil {
			s.summary(false)
			return fmt.Errorf("%s: %w", scene.name, err)
		}
		s.reach(scene.name)
	}
	s.summary(true)
	return nil
}

func (s *show) reach(scene string) {
	if s.c.at != nil {
		s.c.at(scene, s)
	}
}

// create waits until all nodes serve, and creates all tokens at once: while the log is
// younger than a lease, each change takes a lease.
func (s *show) create(ctx context.Context) error {
	if err := s.allServe(ctx); err != nil {
		return err
	}
	s.say("-", "a log that is younger than a lease may have had another before it: the first changes wait for a lease")
	answers := make([]answer, len(tokenNames))
	var all sync.WaitGroup
	for i, name := range tokenNames {
		all.Go(func() { answers[i] = s.client.ask(ctx, "POST", s.stage.urls[0]+route+name, "") })
	}
	all.Wait()
	for i, a := range answers {
		var body struct{ Token struct{ Value string } }
		if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.status != 200 {
			return fmt.Errorf("%s: %d %s", tokenNames[i], a.status, a.body)
		}
		s.bearers[tokenNames[i]] = body.Token.Value
	}
	s.say(s.stage.name(0), "has created %s, which took %v", strings.Join(tokenNames, ", "), took(answers[0].began, time.Now()))
	if a := s.client.ask(ctx, "POST", s.stage.urls[0]+route+"nobody/_clear_cache", ""); a.status != 200 {
		return fmt.Errorf("evict: %d %s", a.status, a.body)
	}
	s.say("-", "the nodes have noted that the log is older than a lease")
	return s.watch(ctx, "steady")
}

// watch starts probes of a token on all nodes, and waits until each confirms it from
// memory.
func (s *show) watch(ctx context.Context, token string) error {
	return s.confirmed(ctx, token, func(i int) *probe {
		p := s.probe(i, token)
		s.probes = append(s.probes, p)
		return p
	})
}

func (s *show) confirmed(ctx context.Context, token string, of func(int) *probe) error {
	for i, n := range s.stage.nodes {
		if n == nil {
			continue
		}
		if _, err := of(i).wait(ctx, func(a answer) bool { return a.status == 200 && a.memory }); err != nil {
			return err
		}
	}
	return nil
}

// of returns the latest probe of a token on a node.
func (s *show) of(i int, token string) *probe {
	for j := len(s.probes) - 1; j >= 0; j-- {
		if p := s.probes[j]; p.node == s.stage.name(i) && p.token == token {
			return p
		}
	}
	panic("no probe of " + token)
}

// evict evicts a token that stays good.
func (s *show) evict(ctx context.Context) error {
	r := revocation{token: "steady", evicted: true, node: s.stage.name(1), scene: "all is well", called: time.Now()}
	if err := s.evictOn(ctx, 1, r.token); err != nil {
		return err
	}
	s.note(&r)
	return s.confirmed(ctx, "steady", func(i int) *probe { return s.of(i, "steady") })
}

// evictOn asks a node to evict, until every node has confirmed it.
func (s *show) evictOn(ctx context.Context, i int, token string) error {
	for {
		a, nodes := s.clear(ctx, i, token)
		if a.status == 200 && nodes.Failed == 0 {
			return nil
		}
		if err := rest(ctx); err != nil {
			return err
		}
	}
}

// A nodes is the part of an eviction's answer that is about nodes.
type nodes struct {
	Total, Successful, Failed int
	Failures                  []struct {
		NodeID   string                  `json:"node_id"`
		CausedBy struct{ Reason string } `json:"caused_by"`
	}
}

// clear asks a node to evict, and prints the answer.
func (s *show) clear(ctx context.Context, i int, token string) (answer, nodes) {
	stop := s.sayWaiting(s.stage.name(i), "evict "+token)
	a := s.client.ask(ctx, "POST", s.stage.urls[i]+route+token+"/_clear_cache", "")
	stop()
	var body struct {
		Nodes nodes `json:"_nodes"`
		Error struct{ Reason string }
	}
	json.Unmarshal([]byte(a.body), &body) // without an answer it stays empty
	var text strings.Builder
	text.WriteString(fmt.Sprintf("evict %s: %d after %v", token, a.status, took(a.began, a.ended)))
	if n := body.Nodes; n.Total > 0 {
		text.WriteString(fmt.Sprintf("; of %d nodes %d have forgotten it or have no lease any more, %d not confirmed", n.Total, n.Successful, n.Failed))
		for _, f := range n.Failures {
			text.WriteString(fmt.Sprintf(" (%s: %s)", s.nameOf(f.NodeID), f.CausedBy.Reason))
		}
	} else if body.Error.Reason != "" {
		text.WriteString(": " + body.Error.Reason)
	}
	s.say(s.stage.name(i), "%s", text.String())
	return a, body.Nodes
}

// sayWaiting prints a line every two seconds while a node waits, until stop is called.
func (s *show) sayWaiting(who, what string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(2 * time.Second):
				s.say(who, "%s: waits for other nodes or the ends of their leases, since %v", what, took(began, time.Now()))
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// nameOf returns the name of a node, by its id.
func (s *show) nameOf(id string) string {
	for i, n := range s.stage.nodes {
		if n == nil {
			continue
		}
		if st, err := s.standing(context.Background(), i); err == nil && st.ID == id {
			return s.stage.name(i)
		}
	}
	return id
}

// delete asks a node to delete a token, until the deletion is known to be in force on
// every node. A deletion that was not confirmed may be in force: the token is then not
// found, and delete waits for an eviction, which comes after the deletion in the log.
func (s *show) delete(ctx context.Context, i int, token, scene string) error {
	r := revocation{token: token, node: s.stage.name(i), scene: scene, called: time.Now()}
	for tried := false; ; tried = true {
		stop := s.sayWaiting(r.node, "delete "+token)
		a := s.client.ask(ctx, "DELETE", s.stage.urls[i]+route+token, "")
		stop()
		if a.status == 200 {
			break
		}
		if a.status == 404 && tried {
			if err := s.evictOn(ctx, i, token); err != nil {
				return err
			}
			break
		}
		s.say(r.node, "delete %s: %d after %v", token, a.status, took(a.began, a.ended))
		if err := rest(ctx); err != nil {
			return err
		}
	}
	s.note(&r)
	return s.refused(ctx, token)
}

func rest(ctx context.Context) error {
	select {
	case <-time.After(100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// note records a revocation that has returned.
func (s *show) note(r *revocation) {
	r.returned = time.Now()
	s.revoked = append(s.revoked, *r)
	if !r.evicted {
		s.say(r.node, "delete %s: has returned, after %v", r.token, took(r.called, r.returned))
	}
}

// refused waits for an answer of each node to a request that is sent now, and prints it.
// It does not judge the answers: violations does.
func (s *show) refused(ctx context.Context, token string) error {
	var texts []string
	for i, n := range s.stage.nodes {
		if n == nil {
			continue
		}
		a, err := s.of(i, token).next(ctx)
		if err != nil {
			return err
		}
		texts = append(texts, fmt.Sprintf("%s %d", s.stage.name(i), a.status))
	}
	s.say("-", "requests sent since: %s", strings.Join(texts, ", "))
	return nil
}

// forget ends the probes of a token, once every node that serves refuses it.
func (s *show) forget(ctx context.Context, token string) error {
	for i, n := range s.stage.nodes {
		if n == nil {
			continue
		}
		p := s.of(i, token)
		if _, err := p.wait(ctx, func(a answer) bool { return a.status == 401 }); err != nil {
			return err
		}
		p.end()
	}
	return nil
}

// calm deletes a token while nothing is broken.
func (s *show) calm(ctx context.Context) error {
	if err := s.watch(ctx, "calm"); err != nil {
		return err
	}
	if err := s.delete(ctx, 2, "calm", "all is well"); err != nil {
		return err
	}
	return s.forget(ctx, "calm")
}

// election deletes a token while the NATS servers elect a leader.
func (s *show) election(ctx context.Context) error {
	if err := s.watch(ctx, "election"); err != nil {
		return err
	}
	leader, err := s.stage.leader(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	s.stage.nats.StopServer(leader)
	s.say("-", "NATS server %d, which led, has ended", leader+1)
	if err := s.delete(ctx, 0, "election", "the leader had ended"); err != nil {
		return err
	}
	s.sayService(began)
	if err := s.stage.nats.StartAll(); err != nil {
		return err
	}
	s.say("-", "NATS server %d is back", leader+1)
	if err := s.allServe(ctx); err != nil {
		return err
	}
	return s.forget(ctx, "election")
}

// sayService prints what the nodes answered to the probes of the token that stays good.
func (s *show) sayService(since time.Time) {
	good, all := 0, 0
	for _, p := range s.probes {
		for _, a := range p.all() {
			if p.token == "steady" && a.began.After(since) {
				if all++; a.status == 200 {
					good++
				}
			}
		}
	}
	s.say("-", "steady: %d of %d requests were confirmed meanwhile", good, all)
}

// cut deletes a token while a node is cut off.
func (s *show) cut(ctx context.Context) error {
	if err := s.watch(ctx, "cut"); err != nil {
		return err
	}
	s.stage.cut(2)
	s.say(s.stage.name(2), "is cut off")
	s.clear(ctx, 1, "steady") // which node2 does not wait for
	s.reach("while cut")
	if err := s.delete(ctx, 0, "cut", s.stage.name(2)+" was cut off"); err != nil {
		return err
	}
	if _, err := s.of(2, "steady").wait(ctx, func(a answer) bool { return a.status == 503 }); err != nil {
		return err
	}
	s.clear(ctx, 2, "steady")
	s.sayStandings(ctx)
	return nil
}

// heal undoes cut, and waits until all nodes agree.
func (s *show) heal(ctx context.Context) error {
	s.stage.heal(2)
	s.say(s.stage.name(2), "is healed")
	if err := s.allServe(ctx); err != nil {
		return err
	}
	if err := s.forget(ctx, "cut"); err != nil {
		return err
	}
	if err := s.confirmed(ctx, "steady", func(i int) *probe { return s.of(i, "steady") }); err != nil {
		return err
	}
	s.sayStandings(ctx)
	return nil
}

// dead deletes a token after a node has died, and starts the node again.
func (s *show) dead(ctx context.Context) error {
	if err := s.watch(ctx, "dead"); err != nil {
		return err
	}
	ended := s.stage.kill(1)
	s.say(s.stage.name(1), "has died")
	for _, token := range []string{"steady", "dead"} {
		s.of(1, token).end()
	}
	if err := errors.Join(s.delete(ctx, 0, "dead", s.stage.name(1)+" had died"), ended()); err != nil {
		return err
	}
	if err := s.forget(ctx, "dead"); err != nil {
		return err
	}
	if err := s.stage.start(1); err != nil {
		return err
	}
	if err := s.allServe(ctx); err != nil {
		return err
	}
	for _, token := range []string{"steady", "dead"} {
		s.probes = append(s.probes, s.probe(1, token))
	}
	if err := s.confirmed(ctx, "steady", func(i int) *probe { return s.of(i, "steady") }); err != nil {
		return err
	}
	_, err := s.of(1, "dead").wait(ctx, func(a answer) bool { return a.status == 401 })
	return err
}

// oneWay deletes one token and evicts another while two nodes are cut off one way each:
// what one sends is lost, and the other hears nothing. The first has just begun to follow
// the log, so that the server has its request for messages, which the node repeats every
// 10 s.
func (s *show) oneWay(ctx context.Context) error {
	if err := s.watch(ctx, "one-way"); err != nil {
		return err
	}
	s.mute.Store(s.stage.name(1))
	s.stage.cutSending(1)
	s.say(s.stage.name(1), "is cut off one way: what it sends is lost, and it still hears")
	s.stage.cutHearing(2)
	s.say(s.stage.name(2), "is cut off the other way: it hears nothing, and what it sends arrives")
	evicted := make(chan answer, 1)
	go func() {
		a, _ := s.clear(ctx, 0, "steady")
		evicted <- a
	}()
	scene := s.stage.name(1) + " could not send, " + s.stage.name(2) + " could not hear"
	if err := s.delete(ctx, 0, "one-way", scene); err != nil {
		return err
	}
	a := <-evicted
	if a.status != 200 {
		return fmt.Errorf("evict: %d %s", a.status, a.body)
	}
	s.revoked = append(s.revoked, revocation{token: "steady", evicted: true, node: s.stage.name(0), scene: scene, called: a.began, returned: a.ended})
	s.say("-", "the bound is %v after the log took them", s.bound().Round(time.Millisecond))
	for i := range servers {
		at := s.lastConfirmedBy(s.stage.name(i), "one-way")
		s.say(s.stage.name(i), "one-way: the last request that was confirmed was sent at %s", strings.TrimSpace(s.since(at)))
	}
	s.mute.Store("")
	for _, i := range []int{1, 2} {
		s.stage.heal(i)
		s.say(s.stage.name(i), "is healed")
	}
	if err := s.allServe(ctx); err != nil {
		return err
	}
	if err := s.forget(ctx, "one-way"); err != nil {
		return err
	}
	return s.confirmed(ctx, "steady", func(i int) *probe { return s.of(i, "steady") })
}

// allServe waits until each auth server that lives has a lease.
func (s *show) allServe(ctx context.Context) error {
	for i, n := range s.stage.nodes {
		for n != nil {
			st, err := s.standing(ctx, i)
			if err == nil && st.Answers {
				break
			}
			if rest(ctx) != nil {
				return errors.Join(fmt.Errorf("%s does not serve", s.stage.name(i)), err)
			}
		}
	}
	return nil
}

func took(from, to time.Time) time.Duration { return to.Sub(from).Round(time.Millisecond) }
