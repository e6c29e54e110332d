package fleet

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// This file has the records of the log: JSON under these keys.
//
//	meta                    the log's identity, version and lease; written once
//	settled                 the same identity, once the log is older than a lease
//	node.PROCESS.N          the heartbeat of a process's Nth session
//	evict.ID                an eviction
//	doc.NAMESPACE.SERVICE.NAME   a token's document
//	note.KIND...            what concerns no token's verdict: a node that does not know the kind skips it
//
// A later version may add others. A kind of key that a node does not know, or such a
// field of an eviction or a document, may be a revocation: so the node clears its caches,
// says that it has applied the record, and goes on. It ignores unknown fields of a
// heartbeat or a note, and does not join a log whose meta has one.
const (
	metaKey     = "meta"
	settledKey  = "settled"
	nodePrefix  = "node."
	evictPrefix = "evict."
	docPrefix   = "doc."
	notePrefix  = "note."
)

// version is the version of the records that this package writes. A log has the version
// of the node that made it, and each node's heartbeats name the highest version that it
// can read. A later version writes nothing new into a log until an operator has raised
// the log's version, once all heartbeats say that their nodes can read it.
const version = 1

// keep is how many leases a heartbeat and an eviction stay in the log. One would be
// enough: no node with a valid lease has been away for longer.
const keep = 3

// keepDeleted is how long the log keeps, at least, the record that a document was
// deleted. If it stayed for ever, it would count against what a log can read of an
// account at once.
const keepDeleted = time.Hour

// metaRecord identifies the log. The name that the servers know is not enough: a stream
// that was deleted and made anew has the same name, and may have the same positions.
type metaRecord struct {
	Version int           `json:"version"` // of what may stand in the log
	Log     string        `json:"log"`
	Lease   time.Duration `json:"lease_ns"` // of every node; the first one decides
}

type heartbeat struct {
	Version int               `json:"version"` // up to which the node knows what may stand in the log
	Name    string            `json:"name,omitempty"`
	Address string            `json:"address,omitempty"` // where the node is asked
	First   bool              `json:"first,omitempty"`   // of its session: before it, the session serves nothing
	Joined  fleetlog.Position `json:"joined,omitempty"`  // of the session's first heartbeat, in all others
	Applied fleetlog.Position `json:"applied"`           // everything up to here, for operators
	Changes []string          `json:"changes,omitempty"` // the IDs of the changes that were applied recently
}

type evictionRecord struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Names     string `json:"names"` // as evict.Parse reads them
	Answer    string `json:"answer,omitempty"`
}

type docRecord struct {
	Created         time.Time `json:"created,omitzero"`
	Creator         string    `json:"creator,omitempty"`
	Enabled         bool      `json:"enabled,omitempty"`
	Expires         time.Time `json:"expires,omitzero"`
	Hash            string    `json:"hash,omitempty"`
	Rotated         time.Time `json:"rotated,omitzero"`
	RotatedBy       string    `json:"rotated_by,omitempty"`
	Previous        string    `json:"previous,omitempty"` // the hash before, good until PreviousExpires
	PreviousExpires time.Time `json:"previous_expires,omitzero"`
	Answer          string    `json:"answer,omitempty"`
}

// A letter is a message from one node to another, outside the log: that a change was
// applied, a question, or the answer to a question.
type letter struct {
	Change  string         `json:"change,omitempty"` // the ID of its append
	Process string         `json:"process"`
	Session int            `json:"session,omitempty"`
	Name    string         `json:"name,omitempty"`
	Evicted map[string]int `json:"evicted,omitempty"`

	Question string `json:"question,omitempty"` // the ID of one
	Text     string `json:"text,omitempty"`     // of the question, or of the answer
	Answer   string `json:"answer,omitempty"`   // where to answer; empty: it is an answer
}

// A sessionID names a process, and one of its sessions.
type sessionID struct {
	process string
	n       int
}

func (id sessionID) key() string { return nodePrefix + id.process + "." + strconv.Itoa(id.n) }

func parseNodeKey(key string) (sessionID, bool) {
	rest, ok := strings.CutPrefix(key, nodePrefix)
	process, number, both := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	return sessionID{process, n}, ok && both && process != "" && err == nil && n > 0
}

func docKey(id tokencache.TokenID) string {
	return docPrefix + id.Account.Namespace + "." + id.Account.Service + "." + id.Name
}

// parseDocKey parses a key that any tool may have written.
func parseDocKey(key string) (tokencache.TokenID, bool) {
	parts := strings.Split(strings.TrimPrefix(key, docPrefix), ".")
	if !strings.HasPrefix(key, docPrefix) || len(parts) != 3 {
		return tokencache.TokenID{}, false
	}
	id := tokencache.Account{Namespace: parts[0], Service: parts[1]}.TokenID(parts[2])
	return id, id.Validate() == nil
}

func newEvictionRecord(sel tokencache.Selector, address string) evictionRecord {
	account := sel.Account()
	names := strings.TrimPrefix(sel.String(), account.String()+"/")
	return evictionRecord{Namespace: account.Namespace, Service: account.Service, Names: names, Answer: address}
}

func (r evictionRecord) selector() (tokencache.Selector, error) {
	return evict.Parse(r.Namespace, r.Service, r.Names)
}

func newDocRecord(doc indexsource.Document, address string) docRecord {
	return docRecord{
		Created: doc.Created, Creator: doc.Creator, Enabled: doc.Enabled, Expires: doc.Expires, Hash: doc.Hash.Reveal(),
		Rotated: doc.Rotated, RotatedBy: doc.RotatedBy, Previous: doc.Previous.Reveal(), PreviousExpires: doc.PreviousExpires,
		Answer: address,
	}
}

func (r docRecord) document(id tokencache.TokenID) (indexsource.Document, error) {
	hash, err := tokenhash.Parse(r.Hash)
	doc := indexsource.Document{
		Token: id, Created: r.Created, Creator: r.Creator, Enabled: r.Enabled, Expires: r.Expires, Hash: hash,
		Rotated: r.Rotated, RotatedBy: r.RotatedBy, PreviousExpires: r.PreviousExpires,
	}
	if err == nil && r.Previous != "" {
		doc.Previous, err = tokenhash.Parse(r.Previous)
	}
	return doc, err
}

// An effect is what a message makes the caches do.
type effect struct {
	clear    bool                // clear everything: the message may mean anything
	selector tokencache.Selector // evict these tokens; the zero Selector: none
	document tokencache.TokenID  // of the document that has changed; zero: none
}

// takesEffect reports whether the node that appends a message waits until it is in force.
func takesEffect(key string) bool {
	return key != metaKey && key != settledKey && !strings.HasPrefix(key, nodePrefix) && !strings.HasPrefix(key, notePrefix)
}

// effectOf returns the effect of a message. One that cannot be understood may mean
// anything.
func effectOf(m fleetlog.Message) effect {
	switch {
	case !takesEffect(m.Key), strings.HasPrefix(m.Key, evictPrefix) && m.Deleted:
		return effect{}
	case strings.HasPrefix(m.Key, evictPrefix):
		var record evictionRecord
		if decode(m.Value, &record) == nil {
			if sel, err := record.selector(); err == nil {
				return effect{selector: sel}
			}
		}
	case strings.HasPrefix(m.Key, docPrefix):
		var record docRecord
		if id, ok := parseDocKey(m.Key); ok && (len(m.Value) == 0 || decode(m.Value, &record) == nil) {
			return effect{document: id}
		}
	}
	return effect{clear: true}
}

var errUnknownRecord = errors.New("it is malformed, or has fields that this version does not know")

// decode parses a record, and fails if there is a field that it does not know.
func decode(data []byte, record any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if d.Decode(record) != nil {
		return errUnknownRecord
	}
	if _, err := d.Token(); err != io.EOF {
		return errUnknownRecord
	}
	return nil
}

// marshal marshals a record, which cannot fail.
func marshal(record any) []byte {
	data, err := json.Marshal(record)
	if err != nil {
		panic("fleet: " + err.Error())
	}
	return data
}

// newID returns 130 random bits as the characters of a key.
func newID() string { return rand.Text() }
