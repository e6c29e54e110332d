package fleetlog

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
	ID       string // of the append that wrote it; empty if another tool did

	// Skipped says, of a message that a Follower delivers, that the log had others before
	// it, since the last one that was delivered or since the position asked for, which
	// were left out.
	Skipped bool
}

// An Entry is a message to be appended.
type Entry struct {
	Key    string
	Value  []byte
	Delete bool // the message deletes the key's value

	// ID is random, the same for every attempt to append this message.
	ID string

	// If is the position of the key's last message, or zero if the key must have
	// no value. Nil: the append does not depend on it.
	If *Position

	// TTL is how long the log must keep the message, unless a later one of the same key
	// takes its place; the log may keep it longer. Zero: for ever.
	TTL time.Duration
}

// A View shows what some keys hold at one position.
type View struct {
	Position Position           // it shows every message up to here; zero: unknown
	Messages map[string]Message // the last message of each key that has one
}

var (
	// ErrConflict is wrapped by the error of an append whose condition does not hold.
	// This attempt has written nothing, but an earlier attempt with the same ID may have:
	// to a caller that repeats an append, the outcome is unknown.
	ErrConflict = errors.New("fleetlog: the key has changed")

	// ErrGap is wrapped by the error of a follower that cannot continue without leaving
	// out a message that it must deliver.
	ErrGap = errors.New("fleetlog: messages are missing from the log")

	// ErrUnfit is wrapped by the error of an append or a read that the log can never
	// carry out: the message is larger than the log takes, or the read asks for more keys
	// than the log answers for at once. This attempt has written nothing, and repeating
	// it is of no use.
	ErrUnfit = errors.New("fleetlog: the log cannot carry this out")
)

// A Log is what all nodes share: totally ordered, durable, and one for documents,
// evictions and heartbeats. Of each key it need keep only the last message. A message
// that was acknowledged is not lost; a log that is restored from a backup breaks this,
// see docs/fleet-proof.md.
//
// Keys have the characters A-Z a-z 0-9 . _ -, parts of one to 300 characters with
// single dots between, and at most six parts.
//
// All methods must be safe for concurrent use by multiple goroutines, and must
// return soon after their context is done. Package fleet/fleettest has a suite of
// tests for logs.
type Log interface {
	// Append writes the message and returns its position once it is committed: once no
	// fault that the log is meant to survive can undo it. Whatever was acknowledged
	// before the call began has a lower position. So an append is a barrier, and a server
	// that has lost its majority must not be able to answer.
	//
	// The error wraps ErrConflict if the condition does not hold, and ErrUnfit if no
	// attempt can succeed. After any other error the outcome is unknown. It is also
	// unknown if the acknowledgement arrives after the context has ended, in case that
	// has cut short what the acknowledgement stands for.
	//
	// An append of an ID that was committed within the last minutes writes nothing. It
	// returns the position of the first one, even if the condition no longer holds
	// because of that one; if a later message has taken the key since, it may return
	// ErrConflict instead.
	Append(ctx context.Context, entry Entry) (Position, error)

	// Follow delivers the log's committed messages from this position on, in order,
	// present and future ones. It may leave out messages that a later one of the same key
	// has superseded, and messages past their TTL; the next message says so. It must not
	// leave out anything else: if it must, or if the log may have been replaced or reset
	// under the follower, Next returns an error.
	Follow(ctx context.Context, from Position) (Follower, error)

	// Read returns the last messages of the keys. A key that ends in .* stands for all
	// keys that begin with what is before the *. The answer may be old: the view has the
	// position that it shows, and must be complete for that position. A copy of the log
	// that may lack something must not answer. The position is known only if at least one
	// of the keys has a message. Deleted keys may be left out. The error wraps ErrUnfit
	// if there is more to read than the log can answer at once.
	Read(ctx context.Context, keys ...string) (View, error)

	// Listen calls deliver with what other nodes send to the address, until stop is
	// called. It also works while the log is not connected yet.
	Listen(deliver func(data []byte)) (address string, stop func(), err error)

	// Send passes data to an address of another node's Listen. It does not block, and may
	// lose, repeat and reorder data: only speed depends on it.
	Send(address string, data []byte)
}

// A Follower delivers messages in order. Next and Close are called from one
// goroutine at a time.
type Follower interface {
	// Next returns the next message, and waits for it. After an error the follower
	// is of no further use.
	Next(ctx context.Context) (Message, error)
	// Close releases what the follower holds. It does not wait for the log.
	Close()
}
