package fleetnats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// Config holds the options of a [Log]. The zero value is the recommended
// production setting.
type Config struct {
	// Bucket names the log: the stream is KV_Bucket, its subjects $KV.Bucket.>, and
	// the nodes answer on _FLEET.Bucket.>. Empty: svctoken.
	Bucket string

	// Domain is the JetStream domain that has the log. A leaf node with a JetStream of
	// its own answers for its own domain unless a request names another; nodes at the hub
	// and nodes at the leaf node then have two logs. Empty: the domain of the server that
	// the connection leads to.
	Domain string

	// Replicas is how many servers keep the log, if Open creates it. Zero: 3.
	// One, for tests, survives nothing.
	Replicas int

	// Existing makes Open fail if there is no log, instead of creating it: for nodes
	// that may not create streams.
	Existing bool
}

// A Log is a log of package fleet in JetStream. [Open] makes one.
//
// It is safe for concurrent use by multiple goroutines.
type Log struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	bucket  string
	api     string        // prefix of the JetStream API's subjects
	target  string        // prefix of the subjects of appends: empty, or the domain's API
	sending chan struct{} // one element for each Send that is on its way
}

var _ fleetlog.Log = (*Log)(nil)

// Open opens the log, and creates it if it is missing. The error wraps [ErrStream] if the
// stream's configuration breaks the contract of fleetlog.Log. The host closes the
// connection, after the node.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Log, error) {
	if cfg.Bucket == "" {
		cfg.Bucket = "svctoken"
	}
	if strings.Trim(cfg.Bucket, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return nil, fmt.Errorf("fleetnats: Config.Bucket: %q has characters other than A-Z a-z 0-9 _ -", cfg.Bucket)
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 3
	}
	if cfg.Replicas < 1 || cfg.Replicas > 5 {
		return nil, fmt.Errorf("fleetnats: Config.Replicas: %d is not 1 to 5", cfg.Replicas)
	}
	js, api, err := connect(nc, cfg.Domain)
	if err != nil {
		return nil, fmt.Errorf("fleetnats: %w", err)
	}
	target := ""
	if cfg.Domain != "" {
		target = api // servers in that domain remove this prefix
	}
	l := &Log{target: target, nc: nc, js: js, api: api, bucket: cfg.Bucket, sending: make(chan struct{}, 256)}
	return l, l.prepare(ctx, cfg)
}

// connect returns the client of a domain, and the prefix of its API's subjects.
func connect(nc *nats.Conn, domain string) (jetstream.JetStream, string, error) {
	if domain == "" {
		js, err := jetstream.New(nc)
		return js, "$JS.API.", err
	}
	if strings.ContainsAny(domain, " .*>\t\r\n") {
		return nil, "", fmt.Errorf("Config.Domain: %q is not a part of a subject", domain)
	}
	js, err := jetstream.NewWithDomain(nc, domain)
	return js, "$JS." + domain + ".API.", err
}

// prepare creates the stream, or checks it.
func (l *Log) prepare(ctx context.Context, cfg Config) error {
	stream, err := l.js.Stream(ctx, l.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) && !cfg.Existing {
		stream, err = l.js.CreateStream(ctx, l.config(cfg.Replicas))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = l.js.Stream(ctx, l.stream())
		}
	}
	if err != nil {
		return fmt.Errorf("fleetnats: stream %s: %w", l.stream(), err)
	}
	return l.check(stream.CachedInfo().Config)
}

// verify checks the stream again: somebody may have changed its configuration.
func (l *Log) verify(ctx context.Context) error {
	stream, err := l.js.Stream(ctx, l.stream())
	if err != nil {
		return fmt.Errorf("fleetnats: stream %s: %w", l.stream(), err)
	}
	return l.check(stream.CachedInfo().Config)
}

func (l *Log) config(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              l.stream(),
		Description:       "svctoken: documents, evictions and heartbeats of a fleet",
		Subjects:          []string{l.subject(">")},
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		Duplicates:        2 * time.Minute,
		AllowDirect:       true,
		AllowMsgTTL:       true,
		DenyDelete:        true,
		DenyPurge:         true, // a purge removes documents, and no node hears of it
	}
}

// ErrStream is wrapped by the error of [Open], and by the reason why a node does not
// serve, if the stream is configured in a way that breaks the contract of fleetlog.Log.
// The error says which rule it breaks; change the stream with nats stream edit, and the
// node serves again.
var ErrStream = errors.New("fleetnats: the stream cannot keep a log")

// check returns an error for a stream that loses messages, or that cannot be read as the
// log needs.
func (l *Log) check(c jetstream.StreamConfig) error {
	for _, rule := range []struct {
		broken bool
		rule   string
	}{
		{len(c.Subjects) != 1 || c.Subjects[0] != l.subject(">"), "its subjects must be " + l.subject(">")},
		{c.Storage != jetstream.FileStorage, "its storage must be file"},
		{c.SubjectTransform != nil, "it must leave subjects as they are"},
		{c.PersistMode != jetstream.DefaultPersistMode, "its persist mode must be the default"},
		{c.NoAck, "it must acknowledge"},
		{c.MaxMsgsPerSubject != 1, "it must keep one message for each subject"},
		{c.Retention != jetstream.LimitsPolicy, "its retention must be limits"},
		{c.Discard != jetstream.DiscardNew, "it must discard new messages when it is full"},
		{c.MaxAge != 0, "its messages must have no maximal age"},
		{!c.AllowDirect, "it must allow direct gets"},
		{!c.AllowMsgTTL, "it must allow a TTL for each message"},
		{!c.DenyDelete || !c.DenyPurge, "it must deny to delete and to purge messages"},
		{c.AllowRollup, "it must not allow roll-ups"},
		{c.Mirror != nil || len(c.Sources) > 0, "it must not be a mirror, and have no sources"},
		{c.Duplicates < time.Minute, "its window for duplicates must be a minute or more"},
	} {
		if rule.broken {
			return fmt.Errorf("%w: stream %s: %s", ErrStream, l.stream(), rule.rule)
		}
	}
	return nil
}

func (l *Log) stream() string { return "KV_" + l.bucket }

func (l *Log) subject(key string) string { return "$KV." + l.bucket + "." + key }

func (l *Log) key(subject string) string { return strings.TrimPrefix(subject, l.subject("")) }

const (
	operation = "KV-Operation" // as key-value buckets have it
	deleted   = "DEL"
	purged    = "PURGE"
)

// Append implements fleetlog.Log: a message is acknowledged once a majority of the
// replicas has it, and its ID keeps a second attempt from being written twice.
func (l *Log) Append(ctx context.Context, entry fleetlog.Entry) (fleetlog.Position, error) {
	msg := nats.NewMsg(l.target + l.subject(entry.Key))
	msg.Data = entry.Value
	var opts []jetstream.PublishOpt
	if entry.ID != "" {
		opts = append(opts, jetstream.WithMsgID(entry.ID))
	}
	if entry.If != nil {
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(uint64(*entry.If)))
	}
	if entry.TTL > 0 {
		opts = append(opts, jetstream.WithMsgTTL(max(time.Second, entry.TTL.Round(time.Second))))
	}
	if entry.Delete {
		msg.Header.Set(operation, deleted)
	}
	ack, err := l.js.PublishMsg(ctx, msg, opts...)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && wrongLast(api) {
		return l.wrote(ctx, entry, err)
	}
	if tooLarge(err) {
		return 0, fmt.Errorf("%w: append: %w", fleetlog.ErrUnfit, err)
	}
	if err != nil {
		return 0, fmt.Errorf("fleetnats: append: %w", err)
	}
	if ack.Stream != l.stream() {
		return 0, fmt.Errorf("fleetnats: append: stream %s has taken it", ack.Stream)
	}
	return fleetlog.Position(ack.Sequence), nil
}

// wrongLast reports whether the condition of an append did not hold. The server has
// two codes for it.
func wrongLast(err *jetstream.APIError) bool {
	return err.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || err.ErrorCode == 10164
}

// tooLarge reports whether a message is larger than the servers or the stream accept.
func tooLarge(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, nats.ErrMaxPayload) || ok && api.ErrorCode == 10054
}

// wrote finds out whether an earlier attempt to append this entry has changed the key:
// the server checks the condition before the ID. It asks the leader, which has refused
// the append.
func (l *Log) wrote(ctx context.Context, entry fleetlog.Entry, refused error) (fleetlog.Position, error) {
	request, err := json.Marshal(map[string]string{"last_by_subj": l.subject(entry.Key)})
	if err != nil {
		return 0, err
	}
	msg, err := l.nc.RequestWithContext(ctx, l.api+"STREAM.MSG.GET."+l.stream(), request)
	if err != nil {
		return 0, fmt.Errorf("fleetnats: append: %w", err)
	}
	var response struct {
		Error   *jetstream.APIError
		Message struct {
			Seq  uint64
			Hdrs []byte
		}
	}
	if err := json.Unmarshal(msg.Data, &response); err != nil {
		return 0, fmt.Errorf("fleetnats: append: %w", err)
	}
	if response.Error != nil && response.Error.ErrorCode != jetstream.JSErrCodeMessageNotFound {
		return 0, fmt.Errorf("fleetnats: append: %w", response.Error)
	}
	header, err := nats.DecodeHeadersMsg(response.Message.Hdrs)
	if err == nil && entry.ID != "" && header.Get(jetstream.MsgIDHeader) == entry.ID {
		return fleetlog.Position(response.Message.Seq), nil
	}
	return 0, fmt.Errorf("%w: %w", fleetlog.ErrConflict, refused)
}

// Read implements fleetlog.Log. Any replica answers, and names the position of its
// answer. Mirrors of the stream answer as well, and may leave messages out; their answers
// name their own stream, and are refused.
func (l *Log) Read(ctx context.Context, keys ...string) (fleetlog.View, error) {
	subjects := make([]string, len(keys))
	for i, key := range keys {
		if prefix, ok := strings.CutSuffix(key, "*"); ok {
			key = prefix + ">"
		}
		subjects[i] = l.subject(key)
	}
	request, err := json.Marshal(map[string][]string{"multi_last": subjects})
	if err != nil {
		return fleetlog.View{}, err
	}
	inbox := l.nc.NewRespInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		return fleetlog.View{}, fmt.Errorf("fleetnats: read: %w", err)
	}
	defer sub.Unsubscribe()
	if err := l.nc.PublishRequest(l.api+"DIRECT.GET."+l.stream(), inbox, request); err != nil {
		return fleetlog.View{}, fmt.Errorf("fleetnats: read: %w", err)
	}
	return l.collect(ctx, sub)
}

// collect receives one message for each key, and then one with the replica's position.
// Each names the position of the one before, which shows if one is lost because the
// connection was made anew: with a member missing from the membership, no change would
// wait for that node.
func (l *Log) collect(ctx context.Context, sub *nats.Subscription) (fleetlog.View, error) {
	view := fleetlog.View{Messages: make(map[string]fleetlog.Message)}
	last := "0"
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return fleetlog.View{}, fmt.Errorf("fleetnats: read: %w", err)
		}
		if before := added(msg.Header, "Nats-Last-Sequence"); before != "" && before != last {
			return fleetlog.View{}, fmt.Errorf("fleetnats: read: the answer has %s after %s, and what is between is lost", before, last)
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
			m, err := l.stored(msg)
			if err != nil {
				return fleetlog.View{}, err
			}
			view.Messages[m.Key] = m
			last = strconv.FormatUint(uint64(m.Position), 10)
		case "413":
			return fleetlog.View{}, fmt.Errorf("%w: read: %s %s", fleetlog.ErrUnfit, status, msg.Header.Get("Description"))
		case "204":
			if len(view.Messages) == 0 {
				return fleetlog.View{}, nil // no message names the stream that has answered
			}
			if pending := msg.Header.Get("Nats-Num-Pending"); pending != "0" {
				return fleetlog.View{}, fmt.Errorf("fleetnats: read: the answer is not complete, %s are missing", pending)
			}
			last, err := strconv.ParseUint(msg.Header.Get("Nats-UpTo-Sequence"), 10, 64)
			if err != nil {
				return fleetlog.View{}, fmt.Errorf("fleetnats: read: %w", err)
			}
			view.Position = fleetlog.Position(last)
			return view, nil
		case "404":
			return fleetlog.View{}, nil
		default:
			return fleetlog.View{}, fmt.Errorf("fleetnats: read: %s %s", status, msg.Header.Get("Description"))
		}
	}
}

// stored parses a message of a direct get.
func (l *Log) stored(msg *nats.Msg) (fleetlog.Message, error) {
	if stream := added(msg.Header, "Nats-Stream"); stream != l.stream() {
		return fleetlog.Message{}, fmt.Errorf("fleetnats: read: stream %.100q has answered for %s", stream, l.stream())
	}
	seq, err := strconv.ParseUint(added(msg.Header, "Nats-Sequence"), 10, 64)
	if err != nil {
		return fleetlog.Message{}, fmt.Errorf("fleetnats: read: %w", err)
	}
	return l.message(added(msg.Header, "Nats-Subject"), seq, msg.Header, msg.Data), nil
}

// added returns a header that the server has added. It is the last one of its name: the
// writer of the message may have set others before it.
func added(header nats.Header, name string) string {
	values := header.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func (l *Log) message(subject string, seq uint64, header nats.Header, data []byte) fleetlog.Message {
	op := header.Get(operation)
	return fleetlog.Message{
		Position: fleetlog.Position(seq), Key: l.key(subject), Value: data,
		Deleted: op == deleted || op == purged, ID: header.Get(jetstream.MsgIDHeader),
	}
}

// Listen implements fleetlog.Log.
func (l *Log) Listen(deliver func([]byte)) (address string, stop func(), err error) {
	address = "_FLEET." + l.bucket + "." + nats.NewInbox()[len(nats.InboxPrefix):]
	sub, err := l.nc.Subscribe(address, func(m *nats.Msg) { deliver(m.Data) })
	if err != nil {
		return "", nil, fmt.Errorf("fleetnats: %w", err)
	}
	return address, func() { sub.Unsubscribe() }, nil
}

// Send implements fleetlog.Log. While too many messages wait to be sent, further ones are
// dropped.
func (l *Log) Send(address string, data []byte) {
	if !strings.HasPrefix(address, "_FLEET."+l.bucket+".") {
		return // an address of another fleet, or one that a forged question names
	}
	select {
	case l.sending <- struct{}{}:
		go func() { // publishing blocks while the connection's buffer is full
			defer func() { <-l.sending }()
			l.nc.Publish(address, data)
		}()
	default:
	}
}
