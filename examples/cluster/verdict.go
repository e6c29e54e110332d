package main

import (
	"fmt"
	"strings"
	"time"
)

// A violation is an answer that confirmed a token although its revocation had returned
// before the request was sent.
type violation struct {
	answer
	revocation
	node string // that answered
}

// violations compares every answer with every revocation.
func (s *show) violations() []violation {
	var list []violation
	for _, r := range s.revoked {
		for _, p := range s.probes {
			if p.token == r.token {
				list = append(list, r.violations(p)...)
			}
		}
	}
	return list
}

// violations returns the violations among one probe's answers. After a deletion nothing
// may be confirmed. After an eviction a verdict must come from a later read of the
// source; an answer from memory does, if an earlier answer since the call came from a
// read.
func (r revocation) violations(p *probe) (list []violation) {
	for _, a := range p.all() {
		if a.status != 200 {
			continue
		}
		if r.evicted && !a.memory && a.ended.After(r.called) {
			return list
		}
		if a.began.After(r.returned) {
			list = append(list, violation{a, r, p.node})
		}
	}
	return list
}

// lastConfirmed returns the node that confirmed a token last, and when it was asked.
func (s *show) lastConfirmed(token string) (node string, at time.Time) {
	for i := range servers {
		if name := s.stage.name(i); s.lastConfirmedBy(name, token).After(at) {
			node, at = name, s.lastConfirmedBy(name, token)
		}
	}
	return node, at
}

// lastConfirmedBy returns when the node's last request was sent that confirmed a token,
// or zero.
func (s *show) lastConfirmedBy(node, token string) (at time.Time) {
	for _, p := range s.probes {
		for _, a := range p.all() {
			if p.node == node && p.token == token && a.status == 200 && a.began.After(at) {
				at = a.began
			}
		}
	}
	return at
}

// bound returns the protocol's bound: a lease, and 0.2 % for the drift of clocks, from
// the moment when the log has taken a change.
func (s *show) bound() time.Duration {
	return s.c.lease + s.c.lease/500 + s.c.lease/100000
}

// summary prints the revocations, and whether they held. Complete says whether all scenes
// were played.
func (s *show) summary(complete bool) {
	var b strings.Builder
	var longest time.Duration
	for _, r := range s.revoked {
		took := r.returned.Sub(r.called)
		longest = max(longest, took)
		verb := "deleted"
		if r.evicted {
			verb = "evicted"
		}
		fmt.Fprintf(&b, "%s %-8s on %s, %s: returned after %v", verb, r.token, r.node, r.scene, took.Round(time.Millisecond))
		if node, at := s.lastConfirmed(r.token); !r.evicted {
			before, word := r.returned.Sub(at), "before"
			if before < 0 {
				before, word = -before, "afterwards"
			}
			fmt.Fprintf(&b, "; the last request that was confirmed was sent %v %s, to %s", before.Round(time.Millisecond), word, node)
		}
		b.WriteByte('\n')
	}
	answers := 0
	for _, p := range s.probes {
		answers += len(p.all())
	}
	violations := s.violations()
	fmt.Fprintf(&b, "bound: %v after the log took it; the longest took %v, with what the log took\n", s.bound().Round(time.Millisecond), longest.Round(time.Millisecond))
	fmt.Fprintf(&b, "answers: %d, of which %d confirmed what had been revoked when they were asked for\n", answers, len(violations))
	for _, v := range violations[:min(len(violations), 10)] {
		fmt.Fprintf(&b, "  %s confirmed %s at %s, which was revoked on %s at %s\n", v.node, v.token, s.since(v.began), v.revocation.node, s.since(v.returned))
	}
	verdict := "held: no answer confirmed what was revoked"
	switch {
	case len(violations) > 0:
		verdict = "broken"
	case !complete:
		verdict = "none: the show did not come to its end"
	}
	fmt.Fprintf(&b, "VERDICT: %s\n", verdict)
	s.title("What was revoked\n" + strings.TrimSuffix(b.String(), "\n"))
}

// invite prints how to continue by hand.
func (s *show) invite() {
	var b strings.Builder
	fmt.Fprintf(&b, "The servers stay up until they are interrupted. The operator is %s\n", s.operator)
	for i := range servers {
		fmt.Fprintf(&b, "  %s   page and API: %s/\n", s.stage.name(i), s.stage.urls[i])
	}
	var urls []string
	for i := range servers {
		urls = append(urls, s.stage.nats.URL(i))
	}
	fmt.Fprintf(&b, "Evict on every node:\n  curl -s -u %s -X POST '%s%s*/_clear_cache'\n", s.operator, s.stage.urls[0], route)
	fmt.Fprintf(&b, "Another node of the same log:\n  go run -C examples/cluster . -join %s -listen 127.0.0.1:0 -name another", strings.Join(urls, ","))
	s.title(b.String())
}
