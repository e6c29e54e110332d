package tokencache

import (
	"math"
	"sync/atomic"
	"time"
)

// An entry is what one cache remembers of one token: that it was confirmed, with which
// secret and record; or why its source refuses the name, whatever the secret.
//
// INVARIANT: an unlinked entry is dead. The code that unlinks an entry gives it a dead
// owner, under the mutex, so that a hit which has already found the entry does not take
// it as good.
//
// Fields that are not marked as guarded are immutable after publication. The size
// matters: an entry of 104 bytes leaves 40 of a size class of Go's allocator to the text
// behind it.
type entry struct {
	// guarded by the mutex
	cellPrev, cellNext   *entry // in the owner's list
	queuePrev, queueNext *entry // in the policy's queue, or among the refusals

	owner  atomic.Pointer[cell] // written under the mutex; see live
	good   int64                // clock reading: until when it answers
	digest digest
	hash   uint32
	beyond uint32 // see dead

	// The flags below, and above them when a hit last used the entry: see use.
	state atomic.Uint32

	textLen  uint16 // of the text, which stands behind the entry: see newEntry
	lastByte uint8  // of the name, in the text
	length   uint8  // index of the secret's length in the memory's lengths
	role     role
	step     uint8 // how many of the jitter's steps the TTL was cut by; see lifetime

	record any
}

// A role says what an entry means for its name. A cache has at most one entry of a name
// in each role, and no other beside one that is sole or a refusal.
type role uint8

const (
	sole     role = iota // its secret is good, and no other
	present              // its secret is good, and so is the previous one
	previous             // its secret is good, and so is the present one
	absent               // the source does not hold the name
	disabled             // the source holds it, and it must not be used
	expired              // the source holds it, and it has expired
	roles
)

// refusals are the reasons of the roles that refuse every secret of a name.
var refusals = [roles]Reason{absent: ReasonUnknownToken, disabled: ReasonDisabled, expired: ReasonExpired}

// refuses reports whether the entry refuses every secret of its name.
func (e *entry) refuses() bool { return e.role >= absent }

// knowAll reports whether entries in these roles, a bit for each, cover every secret that
// the source confirms for a name, so that any other secret is wrong.
func knowAll(roles uint8) bool { return roles&(1<<sole) != 0 || roles == 1<<present|1<<previous }

const (
	used       = 1 << iota // since the policy last looked at the entry
	refreshing             // the load that takes the entry's place has begun
	inMain                 // of the policy's queues; guarded by the mutex
	stateFlags = used | refreshing | inMain
	flagBits   = 3
)

func (e *entry) isUsed() bool { return e.state.Load()&used != 0 }

// A lap is the time, 69 seconds, in which hits note the use of an entry once; it is a
// shift of a clock's reading. Laps count from 1; 0 stands for no use.
const lapBits = 36

func lapOf(reading int64) uint32 { return uint32(reading>>lapBits) + 1 }

// use notes a use in this lap. It writes only if the entry does not say so yet, so that
// the lines of a hot entry stay shared between processors. What another writer sets
// meanwhile stays; the next use is noted then.
func (e *entry) use(lap uint32) {
	if state := e.state.Load(); state&used == 0 || state>>flagBits != lap {
		e.state.CompareAndSwap(state, lap<<flagBits|state&stateFlags|used)
	}
}

// text returns the token's name, and behind it what the name determines of the
// bearer's base64, from where the owner's head ends: see query.
func (e *entry) text() string { return textBehind(e, int(e.textLen)) }

func (e *entry) name() string { return e.text()[:int(e.lastByte)+1] }

// rest returns the characters of base64 that the entry's name determines behind
// its account's.
func (e *entry) rest() string { return e.text()[int(e.lastByte)+1:] }

// live reports whether nothing has evicted or unlinked the entry. It must be the
// last thing that a hit does. Its first load is the instant of the hit: whatever
// was evicted before that instant is seen to be, by one of the three loads.
func (e *entry) live() bool { return !e.owner.Load().dead() }

// setTimes sets until when the entry answers, and when it is dead: when its token, or
// its secret, expires.
func (e *entry) setTimes(good, dead int64) {
	e.good, e.beyond = min(good, dead), endless
	if dead != never {
		e.beyond = uint32(min((dead-e.good)/int64(time.Millisecond), endless-1))
	}
}

const endless = math.MaxUint32 // for beyond: never dead

// dead returns the reading from which nothing confirms the entry, even if its source does
// not answer: at most 49 days past good, and a millisecond early at most.
func (e *entry) dead() int64 {
	if e.beyond == endless {
		return never
	}
	return after(e.good, time.Duration(e.beyond)*time.Millisecond)
}

// cutShort notes in step that something other than the TTL ends the entry.
const cutShort = math.MaxUint8
