package fleet

import (
	"crypto/rand"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// This file is what stands in the log: JSON under these keys.
//
//	meta                    the log's identity and lease; written once
//	settled                 the same identity, once the log is older than a lease
//	node.PROCESS.N          the heartbeat of a process's Nth session
//	evict.ID                an eviction
//	doc.NAMESPACE.SERVICE.NAME   a token's document
const (
	metaKey     = "meta"
	settledKey  = "settled"
	nodePrefix  = "node."
	evictPrefix = "evict."
	docPrefix   = "doc."
)

// keep is how many leases a heartbeat and an eviction stay in the log. One would
// do: nobody with a valid lease has been away for longer.
const keep = 3

// keepDeleted is how long it stays in the log at least that a document was deleted.
// For ever, it would count against what a log can read at once of an account.
const keepDeleted = time.Hour

// metaRecord says which log this is. The servers' own notion is not enough: a stream that was
// deleted and made anew has the same name, and may have the same positions.
type metaRecord struct {
	Log   string        `json:"log"`
	Lease time.Duration `json:"lease_ns"` // of every node; the first one decides
}

type heartbeat struct {
	Name    string            `json:"name,omitempty"`
	First   bool              `json:"first,omitempty"`   // of its session: before it, the session serves nothing
	Applied fleetlog.Position `json:"applied"`           // everything up to here, for operators
	Changes []string          `json:"changes,omitempty"` // the IDs of the changes that were applied of late
}

type evictionRecord struct {
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	Names     string `json:"names"` // as evict.Parse reads them
	Answer    string `json:"answer,omitempty"`
}

type docRecord struct {
	Created time.Time `json:"created,omitzero"`
	Creator string    `json:"creator,omitempty"`
	Enabled bool      `json:"enabled,omitempty"`
	Hash    string    `json:"hash,omitempty"`
	Answer  string    `json:"answer,omitempty"`
}

// An answer says that a session has applied a change.
type answer struct {
	Change  string         `json:"change"` // the ID of its append
	Process string         `json:"process"`
	Session int            `json:"session"`
	Name    string         `json:"name,omitempty"`
	Evicted map[string]int `json:"evicted,omitempty"`
}

// A sessionID is a process, and which of its sessions.
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

// parseDocKey reads a key that any tool may have written.
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
	return docRecord{Created: doc.Created, Creator: doc.Creator, Enabled: doc.Enabled, Hash: doc.Hash.Reveal(), Answer: address}
}

func (r docRecord) document(id tokencache.TokenID) (indexsource.Document, error) {
	hash, err := tokenhash.Parse(r.Hash)
	return indexsource.Document{Token: id, Created: r.Created, Creator: r.Creator, Enabled: r.Enabled, Hash: hash}, err
}

// marshal is for records, which cannot fail to marshal.
func marshal(record any) []byte {
	data, err := json.Marshal(record)
	if err != nil {
		panic("fleet: " + err.Error())
	}
	return data
}

// newID returns 130 random bits as the characters of a key.
func newID() string { return rand.Text() }
