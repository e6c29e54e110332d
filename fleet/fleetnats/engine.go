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

	"github.com/svctoken/svctoken/fleet"
)

// Config holds the options of an [Engine]. The zero value is the recommended
// production setting.
type Config struct {
	// Bucket names the log: the stream is KV_Bucket, its subjects $KV.Bucket.>, and
	// the nodes answer on _FLEET.Bucket.>. Empty: svctoken.
	Bucket string

	// Replicas is how many servers keep the log, where Open creates it. Zero: 3.
	// One, for tests, survives nothing.
	Replicas int

	// Existing has Open fail where there is no log, instead of creating it: for
	// nodes that may not create streams.
	Existing bool
}

// An Engine is a log in JetStream. [Open] makes one.
//
// It is safe for concurrent use by multiple goroutines.
type Engine struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	bucket  string
	sending chan struct{} // a place for each Send that is on its way
}

var _ fleet.Engine = (*Engine)(nil)

// Open opens the log, and creates it where there is none. It returns an error where
// the stream is configured in a way that breaks the engine's contract. The connection
// remains the host's.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Engine, error) {
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
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("fleetnats: %w", err)
	}
	e := &Engine{nc: nc, js: js, bucket: cfg.Bucket, sending: make(chan struct{}, 256)}
	return e, e.prepare(ctx, cfg)
}

// prepare creates the stream, or checks it.
func (e *Engine) prepare(ctx context.Context, cfg Config) error {
	stream, err := e.js.Stream(ctx, e.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) && !cfg.Existing {
		stream, err = e.js.CreateStream(ctx, e.config(cfg.Replicas))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = e.js.Stream(ctx, e.stream())
		}
	}
	if err != nil {
		return fmt.Errorf("fleetnats: stream %s: %w", e.stream(), err)
	}
	return e.check(stream.CachedInfo().Config)
}

func (e *Engine) config(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              e.stream(),
		Description:       "svctoken: documents, evictions and heartbeats of a fleet",
		Subjects:          []string{e.subject(">")},
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		Duplicates:        2 * time.Minute,
		AllowDirect:       true,
		AllowMsgTTL:       true,
		DenyDelete:        true,
		DenyPurge:         true, // a purge takes documents away and tells nobody
	}
}

// check refuses a stream that loses messages, or cannot be read as the log needs it.
func (e *Engine) check(c jetstream.StreamConfig) error {
	for _, rule := range []struct {
		broken bool
		rule   string
	}{
		{len(c.Subjects) != 1 || c.Subjects[0] != e.subject(">"), "its subjects must be " + e.subject(">")},
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
			return fmt.Errorf("fleetnats: stream %s: %s", e.stream(), rule.rule)
		}
	}
	return nil
}

func (e *Engine) stream() string { return "KV_" + e.bucket }

func (e *Engine) subject(key string) string { return "$KV." + e.bucket + "." + key }

func (e *Engine) key(subject string) string { return strings.TrimPrefix(subject, e.subject("")) }

const (
	operation = "KV-Operation" // as key-value buckets have it
	deleted   = "DEL"
	purged    = "PURGE"
)

// Append implements fleet.Engine: a message is acknowledged once a majority of the
// replicas has it, and its ID keeps a second attempt from being written twice.
func (e *Engine) Append(ctx context.Context, entry fleet.Entry) (fleet.Position, error) {
	msg := nats.NewMsg(e.subject(entry.Key))
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
	ack, err := e.js.PublishMsg(ctx, msg, opts...)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && wrongLast(api) {
		return e.wrote(ctx, entry, err)
	}
	if err != nil {
		return 0, fmt.Errorf("fleetnats: append: %w", err)
	}
	if ack.Stream != e.stream() {
		return 0, fmt.Errorf("fleetnats: append: stream %s has taken it", ack.Stream)
	}
	return fleet.Position(ack.Sequence), nil
}

// wrongLast reports whether the condition of an append did not hold. The server has
// two codes for it.
func wrongLast(err *jetstream.APIError) bool {
	return err.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || err.ErrorCode == 10164
}

// wrote looks whether it was an earlier attempt to append this entry that changed the
// key: the server looks at the condition before it looks at the ID. The leader
// answers, as only it has refused.
func (e *Engine) wrote(ctx context.Context, entry fleet.Entry, refused error) (fleet.Position, error) {
	request, err := json.Marshal(map[string]string{"last_by_subj": e.subject(entry.Key)})
	if err != nil {
		return 0, err
	}
	msg, err := e.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+e.stream(), request)
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
		return fleet.Position(response.Message.Seq), nil
	}
	return 0, fmt.Errorf("%w: %w", fleet.ErrConflict, refused)
}

// Read implements fleet.Engine. Any replica answers, and says which position its
// answer is of.
func (e *Engine) Read(ctx context.Context, keys ...string) (fleet.View, error) {
	subjects := make([]string, len(keys))
	for i, key := range keys {
		if prefix, ok := strings.CutSuffix(key, "*"); ok {
			key = prefix + ">"
		}
		subjects[i] = e.subject(key)
	}
	request, err := json.Marshal(map[string][]string{"multi_last": subjects})
	if err != nil {
		return fleet.View{}, err
	}
	inbox := e.nc.NewRespInbox()
	sub, err := e.nc.SubscribeSync(inbox)
	if err != nil {
		return fleet.View{}, fmt.Errorf("fleetnats: read: %w", err)
	}
	defer sub.Unsubscribe()
	if err := e.nc.PublishRequest("$JS.API.DIRECT.GET."+e.stream(), inbox, request); err != nil {
		return fleet.View{}, fmt.Errorf("fleetnats: read: %w", err)
	}
	return e.collect(ctx, sub)
}

// collect receives one message for each key, and then one that says where the
// replica stands. Each names the position of the one before: some are lost where a
// connection is made anew meanwhile, and a roll without a member would have nobody
// wait for that.
func (e *Engine) collect(ctx context.Context, sub *nats.Subscription) (fleet.View, error) {
	view := fleet.View{Messages: make(map[string]fleet.Message)}
	last := "0"
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return fleet.View{}, fmt.Errorf("fleetnats: read: %w", err)
		}
		if before := added(msg.Header, "Nats-Last-Sequence"); before != "" && before != last {
			return fleet.View{}, fmt.Errorf("fleetnats: read: the answer has %s after %s, and what is between is lost", before, last)
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
			m, err := e.stored(msg)
			if err != nil {
				return fleet.View{}, err
			}
			view.Messages[m.Key] = m
			last = strconv.FormatUint(uint64(m.Position), 10)
		case "204":
			if pending := msg.Header.Get("Nats-Num-Pending"); pending != "0" {
				return fleet.View{}, fmt.Errorf("fleetnats: read: the answer is not complete, %s are missing", pending)
			}
			last, err := strconv.ParseUint(msg.Header.Get("Nats-UpTo-Sequence"), 10, 64)
			if err != nil {
				return fleet.View{}, fmt.Errorf("fleetnats: read: %w", err)
			}
			view.Position = fleet.Position(last)
			return view, nil
		case "404":
			return fleet.View{}, nil
		default:
			return fleet.View{}, fmt.Errorf("fleetnats: read: %s %s", status, msg.Header.Get("Description"))
		}
	}
}

// stored reads a message of a direct get.
func (e *Engine) stored(msg *nats.Msg) (fleet.Message, error) {
	seq, err := strconv.ParseUint(added(msg.Header, "Nats-Sequence"), 10, 64)
	if err != nil {
		return fleet.Message{}, fmt.Errorf("fleetnats: read: %w", err)
	}
	return e.message(added(msg.Header, "Nats-Subject"), seq, msg.Header, msg.Data), nil
}

// added returns a header that the server adds: behind those that the writer of the
// message gave it, which may have the same name.
func added(header nats.Header, name string) string {
	values := header.Values(name)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func (e *Engine) message(subject string, seq uint64, header nats.Header, data []byte) fleet.Message {
	op := header.Get(operation)
	return fleet.Message{
		Position: fleet.Position(seq), Key: e.key(subject), Value: data,
		Deleted: op == deleted || op == purged, ID: header.Get(jetstream.MsgIDHeader),
	}
}

// Listen implements fleet.Engine.
func (e *Engine) Listen(deliver func([]byte)) (address string, stop func(), err error) {
	address = "_FLEET." + e.bucket + "." + nats.NewInbox()[len(nats.InboxPrefix):]
	sub, err := e.nc.Subscribe(address, func(m *nats.Msg) { deliver(m.Data) })
	if err != nil {
		return "", nil, fmt.Errorf("fleetnats: %w", err)
	}
	return address, func() { sub.Unsubscribe() }, nil
}

// Send implements fleet.Engine. While too many messages wait to be sent, further
// ones are lost.
func (e *Engine) Send(address string, data []byte) {
	if !strings.HasPrefix(address, "_FLEET."+e.bucket+".") {
		return // an address of another fleet, or of somebody who wants to be sent to elsewhere
	}
	select {
	case e.sending <- struct{}{}:
		go func() { // publishing blocks while the connection's buffer is full
			defer func() { <-e.sending }()
			e.nc.Publish(address, data)
		}()
	default:
	}
}
