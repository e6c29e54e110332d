package fleet

import (
	"context"
	"errors"
	"time"
)

// A Position is a place in the log. The first message has a position above zero,
// each later one a higher position; there may be holes.
type Position uint64

// A Message is what the log holds at a position.
type Message struct {
	Position Position
	Key      string
	Value    []byte
	Deleted  bool   // the key has no value from here on; Value may still say something
	ID       string // of the append that wrote it; empty where another tool did

	// Skipped reports, of a message that a Follower delivers, that the log had
	// others between it and the one delivered before, or the position asked for,
	// which were left out.
	Skipped bool
}

// An Entry is a message to be appended.
type Entry struct {
	Key    string
	Value  []byte
	Delete bool // the message takes the key's value away

	// ID is random, the same for every attempt to append this message.
	ID string

	// If is the position of the key's last message, or zero where the key must
	// have none. Nil: the append does not depend on it.
	If *Position

	// TTL is how long the message must be kept, unless a later one of the same key
	// takes its place; the engine may keep it longer. Zero: for ever.
	TTL time.Duration
}

// A View is what some keys hold at one position.
type View struct {
	Position Position           // it shows every message up to here; zero: it cannot tell
	Messages map[string]Message // the last message of each key that has one
}

// ErrConflict is wrapped by the error of an append whose condition does not hold.
// Nothing was written.
var ErrConflict = errors.New("fleet: the key has changed")

// ErrGap is wrapped by the error of a follower that cannot go on without leaving
// out a message which it ought to deliver.
var ErrGap = errors.New("fleet: messages are missing from the log")

// An Engine is a log that all nodes share: totally ordered, durable, and one for
// documents, evictions and heartbeats. Of each key it need keep only the last
// message. A message that was acknowledged is not lost; a log that is restored
// from a backup breaks this, see docs/fleet.md.
//
// Keys have the characters A-Z a-z 0-9 . _ -, parts of one to 300 characters with
// single dots between, and at most six parts.
//
// All methods must be safe for concurrent use by multiple goroutines, and must
// return soon after their context is done. Package fleet/fleettest has a suite of
// tests for engines.
type Engine interface {
	// Append writes the message and returns its position once it is committed:
	// once no fault that the engine is meant to survive can take it away. Whatever
	// was acknowledged before the call began has a lower position; that makes an
	// append a fence, and an answer by a server that has lost its majority must
	// not be possible.
	//
	// The error wraps ErrConflict where the condition does not hold. After any
	// other error the outcome is unknown. An append of an ID that was committed
	// within the last minutes returns the position of the first, before the
	// condition is looked at.
	Append(ctx context.Context, entry Entry) (Position, error)

	// Follow delivers the log's messages from this position on, in order: those
	// that are there and those to come, committed ones alone. Messages in whose
	// place a later one of the same key has come may be left out, and so may
	// messages past their TTL; the next message says so. Nothing else may: where it
	// cannot be avoided, or where the log may have been replaced or reset under the
	// follower, Next has to return an error.
	Follow(ctx context.Context, from Position) (Follower, error)

	// Read returns the last messages of the keys. A key that ends in .* stands for
	// all keys that begin with what is before the *. Its answer may be old: the view
	// says of which position it is, and must be complete for that position. It
	// must contain at least one key that has a message for the position to be
	// known. Deleted keys may be left out.
	Read(ctx context.Context, keys ...string) (View, error)

	// Listen has deliver called with what other nodes send to the address, until
	// stop is called. It starts before the engine is connected, if it must be.
	Listen(deliver func(data []byte)) (address string, stop func(), err error)

	// Send passes data to an address of another node's Listen. It does not block,
	// and may lose, repeat and reorder. Nothing but speed depends on it.
	Send(address string, data []byte)
}

// A Follower delivers messages in order. Next and Close are called from one
// goroutine at a time.
type Follower interface {
	// Next returns the next message, and waits for it. After an error the follower
	// is of no further use.
	Next(ctx context.Context) (Message, error)
	// Close releases what the follower holds. It does not wait for the engine.
	Close()
}
