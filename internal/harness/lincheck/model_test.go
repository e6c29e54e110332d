package lincheck

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// An event is an operation of a history, from one instant to another.
type event struct {
	from, to int64
	in       input
	out      output
}

// TestModel shows the model histories by hand, legal ones and others.
func TestModel(t *testing.T) {
	const a, idxA, b = 0, tokens, 1 // slots
	all := versions(1<<slots - 1)
	wr := func(slot int, v version) input {
		return input{kind: write, slots: only(version(slot)), version: v}
	}
	ev := func(slots versions) input { return input{kind: evict, slots: slots} }
	au := func(slot int) input { return input{kind: authenticate, slot: slot, any: true} }
	with := func(slot int, v version) input { return input{kind: authenticate, slot: slot, version: v} }
	ex := func(slot int, v version) input { return input{kind: end, slot: slot, version: v} }
	how := func(in input, how ending) input { in.ending = how; return in }
	ord := func(in input) input { in.ordered = true; return in }
	rot := func(in input) input { in.rotated = true; return in }
	gr := func(in input) input { in.grace = true; return in }
	fg := func(slot int) input { return input{kind: forgotten, slot: slot} }
	ok := func(v version) output { return output{true, v} }
	none := output{}
	for _, test := range []struct {
		name          string
		events        []event
		strict, loose bool
	}{
		{"a hit", []event{{1, 2, au(a), ok(1)}, {3, 4, au(a), ok(1)}}, true, true},
		{"stale until it is evicted", []event{{1, 2, au(a), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, au(a), ok(1)}}, true, true},
		{"a hit does not go to the source", []event{{1, 2, au(a), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, au(a), ok(2)}}, false, true},
		{"fresh after an eviction", []event{{1, 2, au(a), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, ev(all), none}, {7, 8, au(a), ok(2)}}, true, true},
		{"stale after an eviction", []event{{1, 2, au(a), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, ev(all), none}, {7, 8, au(a), ok(1)}}, false, false},
		{"stale during an eviction", []event{{1, 2, au(a), ok(1)}, {3, 4, wr(a, 2), none}, {5, 8, ev(all), none}, {6, 9, au(a), ok(1)}}, true, true},
		{"an early load ends late", []event{{1, 9, au(a), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, ev(all), none}, {7, 8, au(a), ok(2)}}, true, true},
		{"an early load is joined late", []event{{1, 9, au(a), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, ev(all), none}, {7, 10, au(a), ok(1)}}, false, false},
		{"an early load is stored", []event{{1, 9, au(a), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, ev(all), none}, {10, 11, au(a), ok(1)}}, false, false},
		{"revoked", []event{{1, 2, au(a), ok(1)}, {3, 4, wr(a, 0), none}, {5, 6, ev(all), none}, {7, 8, au(a), none}}, true, true},
		{"refused without a reason", []event{{1, 2, au(a), none}}, false, false},
		{"never heard of", []event{{1, 2, au(a), ok(2)}}, false, false},
		{"another token's eviction", []event{{1, 2, au(a), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, ev(1 << b), none}, {7, 8, au(a), ok(2)}}, false, true},
		{"seen in one cache, not in the other", []event{
			{1, 2, au(a), ok(1)}, {3, 4, au(idxA), ok(1)}, {5, 6, wr(a, 2), none}, {7, 8, wr(idxA, 2), none},
			{9, 20, ev(all), none}, {10, 11, au(a), ok(2)}, {12, 13, au(idxA), ok(1)},
		}, false, true},
		{"seen in both caches, in turn", []event{
			{1, 2, au(a), ok(1)}, {3, 4, au(idxA), ok(1)}, {5, 6, wr(a, 2), none}, {7, 8, wr(idxA, 2), none},
			{9, 20, ev(all), none}, {10, 11, au(idxA), ok(1)}, {12, 13, au(a), ok(2)}, {14, 15, au(idxA), ok(2)},
		}, true, true},
		{"one name seen, not the other", []event{
			{1, 2, au(a), ok(1)}, {3, 4, au(b), ok(1)}, {5, 6, wr(a, 2), none}, {7, 8, wr(b, 2), none},
			{9, 20, ev(1<<a | 1<<b), none}, {10, 11, au(b), ok(2)}, {12, 13, au(a), ok(1)},
		}, false, true},
		{"an early load reads late, and is not stored", []event{
			{1, 10, au(a), ok(3)}, {2, 3, ev(all), none}, {4, 5, wr(a, 2), none}, {6, 11, au(a), ok(2)}, {7, 8, wr(a, 3), none}, {12, 13, au(a), ok(2)},
		}, true, true},
		{"an early load reads late, after another is stored", []event{
			{1, 12, au(a), ok(3)}, {2, 3, wr(a, 2), none}, {4, 5, ev(all), none}, {6, 7, au(a), ok(2)}, {8, 9, wr(a, 3), none}, {13, 14, au(a), ok(2)},
		}, true, true},
		{"a load that nothing crossed is stored", []event{
			{1, 10, au(a), ok(3)}, {4, 5, wr(a, 2), none}, {6, 11, au(a), ok(2)}, {7, 8, wr(a, 3), none}, {12, 13, au(a), ok(2)},
		}, false, true},
		{"wrong secret", []event{{1, 2, with(a, 1), ok(1)}, {3, 4, with(a, 2), none}}, true, true},
		{"the old secret from memory", []event{{1, 2, with(a, 1), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, with(a, 2), none}}, true, true},
		{"the old secret after an eviction", []event{{1, 2, with(a, 1), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, ev(all), none}, {7, 8, with(a, 1), ok(1)}}, false, false},
		{"the new secret refused after an eviction", []event{{1, 2, with(a, 1), ok(1)}, {3, 4, wr(a, 2), none}, {5, 6, ev(all), none}, {7, 8, with(a, 2), none}}, false, false},
		{"past its own expiry, from memory", []event{{1, 2, with(a, 1), ok(1)}, {3, 4, ex(a, 1), none}, {5, 6, with(a, 1), ok(1)}}, false, false},
		{"past its own expiry, from the source", []event{{3, 4, ex(a, 1), none}, {5, 6, with(a, 1), ok(1)}}, false, false},
		{"refused past its own expiry", []event{{3, 4, ex(a, 1), none}, {5, 6, with(a, 1), none}}, true, true},
		{"refused before its own expiry", []event{{3, 4, with(a, 1), none}, {5, 6, ex(a, 1), none}}, false, false},
		{"confirmed as it expires", []event{{3, 6, ex(a, 1), none}, {4, 5, with(a, 1), ok(1)}}, true, true},
		{"refused as it expires, and confirmed later", []event{{3, 10, ex(a, 1), none}, {4, 5, with(a, 1), none}, {6, 7, with(a, 1), ok(1)}}, false, false},
		{"another version's expiry", []event{{1, 2, wr(a, 2), none}, {3, 4, ex(a, 1), none}, {5, 6, with(a, 2), ok(2)}}, true, true},
		{"another cache's expiry", []event{{3, 4, ex(idxA, 1), none}, {5, 6, with(a, 1), ok(1)}}, true, true},
		{"confirmed past its expiry by a cache's clock", []event{{3, 4, how(ex(a, 1), dueOnly), none}, {5, 6, with(a, 1), ok(1)}}, true, true},
		{"refused past its expiry by a cache's clock", []event{{3, 4, how(ex(a, 1), dueOnly), none}, {5, 6, with(a, 1), none}}, true, true},
		{"confirmed when the clock is set back", []event{{1, 2, ex(a, 1), none}, {3, 4, how(ex(a, 1), revived), none}, {5, 6, with(a, 1), ok(1)}}, true, true},
		{"refused when the clock is set back", []event{{1, 2, ex(a, 1), none}, {3, 4, how(ex(a, 1), revived), none}, {5, 6, with(a, 1), none}}, true, true},
		{"the previous secret, in its grace", []event{{1, 2, rot(wr(a, 2)), none}, {3, 4, ev(all), none}, {5, 6, with(a, 1), ok(1)}, {7, 8, with(a, 2), ok(2)}}, false, true},
		{"the previous secret refused in its grace", []event{{1, 2, rot(wr(a, 2)), none}, {3, 4, ev(all), none}, {5, 6, with(a, 1), none}}, false, false},
		{"the previous secret after its grace", []event{{1, 2, rot(wr(a, 2)), none}, {3, 4, ev(all), none}, {5, 6, gr(ex(a, 2)), none}, {7, 8, with(a, 1), ok(1)}}, false, false},
		{"the previous secret refused after its grace", []event{{1, 2, rot(wr(a, 2)), none}, {3, 4, ev(all), none}, {5, 6, gr(ex(a, 2)), none}, {7, 8, with(a, 1), none}}, true, true},
		{"the previous secret of a token that has expired", []event{{1, 2, rot(wr(a, 2)), none}, {3, 4, ev(all), none}, {5, 6, ex(a, 2), none}, {7, 8, with(a, 1), ok(1)}}, false, false},
		{"the secret before the previous one", []event{{1, 2, wr(a, 2), none}, {3, 4, rot(wr(a, 3)), none}, {5, 6, ev(all), none}, {7, 8, with(a, 1), ok(1)}}, false, false},
		{"the present secret while the previous one is good", []event{{1, 2, rot(wr(a, 2)), none}, {3, 4, ev(all), none}, {7, 8, with(a, 2), none}}, false, false},
		{"an earlier read after a later one", []event{{1, 2, wr(a, 2), none}, {3, 4, ord(with(a, 2)), ok(2)}, {5, 6, ord(with(a, 1)), ok(1)}}, false, false},
		{"an earlier read that ends after a later one", []event{{1, 8, ord(with(a, 1)), ok(1)}, {2, 3, wr(a, 2), none}, {4, 5, ord(with(a, 2)), ok(2)}}, false, true},
		{"an earlier read that is remembered", []event{
			{1, 8, ord(with(a, 1)), ok(1)}, {2, 3, wr(a, 2), none}, {4, 5, ord(with(a, 2)), ok(2)}, {9, 10, ord(with(a, 1)), ok(1)},
		}, false, false},
		{"one source of two caches", []event{
			{1, 2, input{kind: write, slots: 1<<a | 1<<idxA, version: 2}, none}, {3, 4, ev(all), none}, {5, 6, au(a), ok(2)}, {7, 8, au(idxA), ok(2)},
		}, true, true},
		{"one source of two caches, which one has not heard of", []event{
			{1, 2, input{kind: write, slots: 1<<a | 1<<idxA, version: 2}, none}, {3, 4, ev(all), none}, {5, 6, au(a), ok(2)}, {7, 8, au(idxA), ok(1)},
		}, false, false},
		{"a source before the third cache's memory", []event{{1, 2, au(2 * tokens), ok(1)}, {3, 4, fg(a), none}, {3, 4, au(a), ok(1)}}, false, true},
		{"a source before the second cache's memory", []event{{1, 2, au(idxA), ok(1)}, {3, 4, fg(a), none}, {3, 4, au(a), ok(1)}}, false, true},
		{"a source before the first cache's memory", []event{{1, 2, au(a), ok(1)}, {3, 4, fg(a), none}, {3, 4, au(idxA), ok(1)}}, false, true},
		{"a source after an eviction", []event{{1, 2, au(idxA), ok(1)}, {3, 4, ev(all), none}, {5, 6, fg(a), none}, {5, 6, au(a), ok(1)}}, true, true},
		{"a source while an eviction runs", []event{{1, 2, au(idxA), ok(1)}, {3, 8, ev(all), none}, {5, 6, fg(a), none}, {5, 6, au(a), ok(1)}}, true, true},
		{"a source beside another token's memory", []event{{1, 2, au(b), ok(1)}, {5, 6, fg(a), none}, {5, 6, au(a), ok(1)}}, true, true},
		{"absent until it is evicted", []event{{1, 2, wr(a, 0), none}, {3, 4, ev(all), none}, {5, 6, au(a), none}, {7, 8, wr(a, 2), none}, {9, 10, au(a), none}}, true, true},
		{"absent after an eviction", []event{{1, 2, wr(a, 0), none}, {3, 4, au(a), none}, {5, 6, wr(a, 2), none}, {7, 8, ev(all), none}, {9, 10, au(a), none}}, false, false},
		{"absent beside a memory", []event{{1, 2, au(a), ok(1)}, {3, 4, wr(a, 0), none}, {5, 6, au(a), none}}, false, true},
		{"a success after close", []event{{1, 2, input{kind: closeCache}, none}, {3, 4, au(a), ok(1)}}, false, false},
		{"a success without a lease", []event{{1, 2, input{kind: lease, lapsed: true}, none}, {3, 4, au(a), ok(1)}}, false, false},
		{"a refusal without a lease", []event{{1, 2, wr(a, 0), none}, {3, 4, input{kind: lease, lapsed: true}, none}, {5, 6, au(a), none}}, false, false},
		{"a success as the lease lapses", []event{{1, 4, input{kind: lease, lapsed: true}, none}, {2, 5, au(a), ok(1)}}, true, true},
		{"a success of a version that has ended, as the clock is set back", []event{
			{1, 2, ex(a, 1), none}, {3, 10, au(a), ok(1)}, {4, 5, ev(all), none}, {6, 7, wr(a, 2), none}, {8, 9, how(ex(a, 1), revived), none},
		}, true, true},
		{"a success of a version that has ended, before the clock is set back", []event{
			{1, 2, ex(a, 1), none}, {3, 4, au(a), ok(1)}, {8, 9, how(ex(a, 1), revived), none},
		}, false, false},
		{"a success of a time without a lease, out with the next", []event{
			{1, 12, au(a), ok(2)}, {2, 3, input{kind: lease, lapsed: true}, none}, {4, 5, wr(a, 2), none}, {6, 7, wr(a, 3), none}, {8, 9, ev(all), none}, {10, 11, input{kind: lease}, none},
		}, true, true},
		{"a success of a time without a lease, out without one", []event{
			{1, 6, au(a), ok(2)}, {2, 3, input{kind: lease, lapsed: true}, none}, {4, 5, wr(a, 2), none}, {7, 8, input{kind: lease}, none},
		}, false, false},
		{"a success of a time without a lease, out before it", []event{
			{3, 6, au(a), ok(2)}, {1, 2, input{kind: lease, lapsed: true}, none}, {4, 5, input{kind: lease}, none}, {7, 8, wr(a, 2), none},
		}, false, false},
		{"a success with another lease", []event{{1, 2, input{kind: lease, lapsed: true}, none}, {3, 4, input{kind: lease}, none}, {5, 6, au(a), ok(1)}}, true, true},
		{"a success in the other cache after close", []event{{1, 2, input{kind: closeCache}, none}, {3, 4, au(idxA), ok(1)}}, true, true},
	} {
		var history []porcupine.Operation
		for i, e := range test.events {
			history = append(history, porcupine.Operation{ClientId: i, Input: e.in, Call: e.from, Output: e.out, Return: e.to})
		}
		history = addInstants(history)
		if got := porcupine.CheckOperations(model(false), history); got != test.strict {
			t.Errorf("%s: the strict model says %v, want %v", test.name, got, test.strict)
		}
		if got := porcupine.CheckOperations(model(true), history); got != test.loose {
			t.Errorf("%s: the loose model says %v, want %v", test.name, got, test.loose)
		}
	}
}
