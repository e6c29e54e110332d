package natstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetnats"
)

// These tests check the log's requests to JetStream, and what it does with each answer. A
// stand-in answers, on a server without JetStream.

// A standing is a stand-in for JetStream, whose answers a test sets.
type standing struct {
	t  *testing.T
	nc *nats.Conn

	mu      sync.Mutex // guards the fields below
	answers map[string]string
	asked   []*nats.Msg
}

// stand starts a stand-in, which answers requests on these subjects.
func stand(t *testing.T, answers map[string]string) *standing {
	t.Helper()
	nc, err := nats.Connect(serve(t, &server.Options{}).ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s := &standing{t: t, nc: nc, answers: maps.Clone(answers)}
	answer(t, nc, ">", func(m *nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for subject, text := range s.answers {
			if m.Reply != "" && strings.HasPrefix(m.Subject, subject) {
				s.asked = append(s.asked, m)
				m.Respond([]byte(text))
			}
		}
	})
	return s
}

// set sets an answer.
func (s *standing) set(subject, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[subject] = text
}

// take returns the requests since the last take on subjects that begin like this.
func (s *standing) take(prefix string) (list []*nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.asked {
		if strings.HasPrefix(m.Subject, prefix) {
			list = append(list, m)
		}
	}
	s.asked = nil
	return list
}

func text(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// same compares two values as JSON.
func same(t *testing.T, want, got any) {
	t.Helper()
	if want, got := text(t, want), text(t, got); want != got {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// refusal returns the server's answer to a request that it refuses.
func refusal(code int) string {
	return fmt.Sprintf(`{"error":{"code":400,"err_code":%d,"description":"as the test has it"}}`, code)
}

const (
	noStream   = 10059
	nameInUse  = 10058
	noMessage  = 10037
	wrongPlace = 10071
	tooLarge   = 10054
)

func info(t *testing.T) string { return text(t, jetstream.StreamInfo{Config: goodStream}) }

func openAt(t *testing.T, s *standing) *fleetnats.Log {
	t.Helper()
	l, err := fleetnats.Open(t.Context(), s.nc, fleetnats.Config{Bucket: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestConfigIsChecked(t *testing.T) {
	s := stand(t, map[string]string{"$JS.API.STREAM.INFO.": info(t)})
	for want, cfg := range map[string]fleetnats.Config{
		`fleetnats: Config.Bucket: "a.b" has characters other than A-Z a-z 0-9 _ -`: {Bucket: "a.b"},
		`fleetnats: Config.Replicas: -1 is not 1 to 5`:                              {Bucket: "test", Replicas: -1},
		`fleetnats: Config.Replicas: 6 is not 1 to 5`:                               {Bucket: "test", Replicas: 6},
		`fleetnats: Config.Domain: "a.b" is not a part of a subject`:                {Bucket: "test", Domain: "a.b"},
		`fleetnats: Config.Domain: "*" is not a part of a subject`:                  {Bucket: "test", Domain: "*"},
	} {
		if _, err := fleetnats.Open(t.Context(), s.nc, cfg); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for _, replicas := range []int{0, 1, 5} {
		if _, err := fleetnats.Open(t.Context(), s.nc, fleetnats.Config{Bucket: "test", Replicas: replicas}); err != nil {
			t.Errorf("%d replicas: %v", replicas, err)
		}
	}
}

// TestStreamIsMade: the stream that Open creates if there is none, and what it leaves
// alone.
func TestStreamIsMade(t *testing.T) {
	want := jetstream.StreamConfig{
		Name: "KV_svctoken", Description: "svctoken: documents, evictions and heartbeats of a fleet", Subjects: []string{"$KV.svctoken.>"},
		Storage: jetstream.FileStorage, Replicas: 3, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, Duplicates: 2 * time.Minute,
		AllowDirect: true, AllowMsgTTL: true, DenyDelete: true, DenyPurge: true,
	}
	made := text(t, jetstream.StreamInfo{Config: want})
	s := stand(t, map[string]string{"$JS.API.STREAM.INFO.": refusal(noStream), "$JS.API.STREAM.CREATE.": made})
	if _, err := fleetnats.Open(t.Context(), s.nc, fleetnats.Config{Existing: true}); !errors.Is(err, jetstream.ErrStreamNotFound) || !strings.HasPrefix(err.Error(), "fleetnats: stream KV_svctoken: ") {
		t.Errorf("without a stream: %v", err)
	}
	if asked := s.take("$JS.API.STREAM.CREATE."); len(asked) > 0 {
		t.Errorf("it made a stream that has to exist")
	}
	if _, err := fleetnats.Open(t.Context(), s.nc, fleetnats.Config{}); err != nil {
		t.Fatal(err)
	}
	asked := s.take("$JS.API.STREAM.CREATE.")
	if len(asked) != 1 || asked[0].Subject != "$JS.API.STREAM.CREATE.KV_svctoken" {
		t.Fatalf("it was asked %d times", len(asked))
	}
	var got jetstream.StreamConfig
	if err := json.Unmarshal(asked[0].Data, &got); err != nil {
		t.Fatal(err)
	}
	same(t, want, got)
	s.set("$JS.API.STREAM.CREATE.", refusal(nameInUse)) // another node made it meanwhile
	if _, err := fleetnats.Open(t.Context(), s.nc, fleetnats.Config{}); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("a name in use: %v", err)
	}
	if n := len(s.take("$JS.API.STREAM.INFO.")); n != 2 {
		t.Errorf("it looked %d times for a stream that another node made meanwhile", n)
	}
}

// TestAppendAsks: the request of an append.
func TestAppendAsks(t *testing.T) {
	s := stand(t, map[string]string{"$JS.API.STREAM.INFO.": info(t), "$KV.test.": `{"stream":"KV_test","seq":7}`})
	l := openAt(t, s)
	at := func(pos fleetlog.Position) *fleetlog.Position { return &pos }
	for _, tt := range []struct {
		name  string
		entry fleetlog.Entry
		want  map[string]string
	}{
		{"a value", fleetlog.Entry{}, map[string]string{}},
		{"an ID", fleetlog.Entry{ID: "i"}, map[string]string{"Nats-Msg-Id": "i"}},
		{"a condition", fleetlog.Entry{If: at(6)}, map[string]string{"Nats-Expected-Last-Subject-Sequence": "6"}},
		{"the first of its key", fleetlog.Entry{If: at(0)}, map[string]string{"Nats-Expected-Last-Subject-Sequence": "0"}},
		{"a time", fleetlog.Entry{TTL: time.Minute}, map[string]string{"Nats-TTL": "1m0s"}},
		{"a time that is shorter than the server knows", fleetlog.Entry{TTL: time.Millisecond}, map[string]string{"Nats-TTL": "1s"}},
		{"a time that is not whole", fleetlog.Entry{TTL: 2400 * time.Millisecond}, map[string]string{"Nats-TTL": "2s"}},
		{"a deletion", fleetlog.Entry{Delete: true}, map[string]string{"KV-Operation": "DEL"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.entry.Key, tt.entry.Value = "doc.a.b.c", []byte("value")
			pos, err := l.Append(t.Context(), tt.entry)
			if err != nil || pos != 7 {
				t.Fatalf("got %d, %v", pos, err)
			}
			asked := s.take("$KV.test.")
			if len(asked) != 1 || asked[0].Subject != "$KV.test.doc.a.b.c" || string(asked[0].Data) != "value" {
				t.Fatalf("it was asked %d times", len(asked))
			}
			got := make(map[string]string)
			for name := range asked[0].Header {
				got[name] = asked[0].Header.Get(name)
			}
			same(t, tt.want, got)
		})
	}
}

// TestAppendIsRefused: what an append returns after a refusal, and after reading the key.
func TestAppendIsRefused(t *testing.T) {
	s := stand(t, map[string]string{"$JS.API.STREAM.INFO.": info(t)})
	l := openAt(t, s)
	stored := func(id string) string {
		header := []byte("NATS/1.0\r\nNats-Msg-Id: " + id + "\r\n\r\n")
		return text(t, map[string]any{"message": map[string]any{"seq": 5, "hdrs": header}})
	}
	const look = "$JS.API.STREAM.MSG.GET.KV_test"
	for _, tt := range []struct {
		name, answer, look string
		id                 string
		pos                fleetlog.Position
		want               error // nil, with a position of 0: any other error
	}{
		{"its own earlier attempt", refusal(wrongPlace), stored("i"), "i", 5, nil},
		{"its own earlier attempt, by the other code", refusal(10164), stored("i"), "i", 5, nil},
		{"another's", refusal(wrongPlace), stored("j"), "i", 0, fleetlog.ErrConflict},
		{"another's, and it has no ID", refusal(wrongPlace), stored(""), "", 0, fleetlog.ErrConflict},
		{"nobody's any more", refusal(wrongPlace), refusal(noMessage), "i", 0, fleetlog.ErrConflict},
		{"the look fails", refusal(wrongPlace), refusal(10008), "i", 0, nil},
		{"the look cannot be read", refusal(wrongPlace), "?", "i", 0, nil},
		{"too large", refusal(tooLarge), "", "i", 0, fleetlog.ErrUnfit},
		{"an outage", refusal(10008), "", "i", 0, nil},
		{"another stream", `{"stream":"KV_other","seq":7}`, "", "i", 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.set("$KV.test.", tt.answer)
			s.set(look, tt.look)
			s.take("")
			pos, err := l.Append(t.Context(), fleetlog.Entry{Key: "doc.a.b.c", ID: tt.id})
			if tt.pos == 0 && tt.want == nil && !strings.HasPrefix(err.Error(), "fleetnats: append: ") || strings.Contains(tt.answer, "KV_other") && err.Error() != "fleetnats: append: stream KV_other has taken it" {
				t.Errorf("it says %q", err)
			}
			definite := errors.Is(err, fleetlog.ErrConflict) || errors.Is(err, fleetlog.ErrUnfit)
			if pos != tt.pos || (err == nil) != (tt.pos > 0) || !errors.Is(err, tt.want) && tt.want != nil || definite != (tt.want != nil) {
				t.Errorf("got %d, %v", pos, err)
			}
			if asked := s.take(look); tt.look != "" && (len(asked) != 1 || string(asked[0].Data) != `{"last_by_subj":"$KV.test.doc.a.b.c"}`) {
				t.Errorf("it looked %d times", len(asked))
			}
		})
	}
}

// TestReadAsks: the request of a read, and what it returns for each kind of answer.
func TestReadAsks(t *testing.T) {
	s := stand(t, map[string]string{"$JS.API.STREAM.INFO.": info(t)})
	l := openAt(t, s)
	type part = map[string]string
	message := func(edit part) part {
		p := part{"Nats-Stream": "KV_test", "Nats-Subject": "$KV.test.meta", "Nats-Sequence": "3", "Nats-Last-Sequence": "0", "Nats-Msg-Id": "i"}
		maps.Copy(p, edit)
		return p
	}
	end := func(edit part) part {
		p := part{"Status": "204", "Nats-Num-Pending": "0", "Nats-Last-Sequence": "3", "Nats-UpTo-Sequence": "9"}
		maps.Copy(p, edit)
		return p
	}
	var mu sync.Mutex // guards parts and asked
	var parts []part
	var asked string
	answer(t, s.nc, "$JS.API.DIRECT.GET.KV_test", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		asked = string(m.Data)
		for _, p := range parts {
			msg := nats.NewMsg(m.Reply)
			for name, value := range p {
				msg.Header.Set(name, value)
			}
			msg.Data = []byte("value")
			s.nc.PublishMsg(msg)
		}
	})
	for _, tt := range []struct {
		name     string
		parts    []part
		position fleetlog.Position
		message  fleetlog.Message // of meta
		want     string           // a part of the error
	}{
		{"a message", []part{message(nil), end(nil)}, 9, fleetlog.Message{Position: 3, Key: "meta", Value: []byte("value"), ID: "i"}, ""},
		{"one that was deleted", []part{message(part{"KV-Operation": "DEL"}), end(nil)}, 9, fleetlog.Message{Position: 3, Key: "meta", Value: []byte("value"), ID: "i", Deleted: true}, ""},
		{"one that was purged", []part{message(part{"KV-Operation": "PURGE"}), end(nil)}, 9, fleetlog.Message{Position: 3, Key: "meta", Value: []byte("value"), ID: "i", Deleted: true}, ""},
		{"nothing", []part{{"Status": "404"}}, 0, fleetlog.Message{}, ""},
		{"nothing, and who knows of what", []part{end(part{"Nats-Last-Sequence": "0"})}, 0, fleetlog.Message{}, ""},
		{"too many", []part{{"Status": "413", "Description": "Too Many Results"}}, 0, fleetlog.Message{}, fleetlog.ErrUnfit.Error() + ": read: 413 Too Many Results"},
		{"another end", []part{{"Status": "408", "Description": "Bad Request"}}, 0, fleetlog.Message{}, "fleetnats: read: 408 Bad Request"},
		{"some are missing", []part{message(nil), end(part{"Nats-Num-Pending": "2"})}, 0, fleetlog.Message{}, "the answer is not complete, 2 are missing"},
		{"one between is lost", []part{message(nil), end(part{"Nats-Last-Sequence": "5"})}, 0, fleetlog.Message{}, "the answer has 5 after 3"},
		{"no position", []part{message(nil), end(part{"Nats-UpTo-Sequence": "x"})}, 0, fleetlog.Message{}, "fleetnats: read: "},
		{"no sequence", []part{message(part{"Nats-Sequence": "x"}), end(nil)}, 0, fleetlog.Message{}, "fleetnats: read: "},
		{"another stream's", []part{message(part{"Nats-Stream": "mirror"}), end(nil)}, 0, fleetlog.Message{}, `fleetnats: read: stream "mirror" has answered for KV_test`},
		{"nobody says which stream", []part{{"Nats-Subject": "$KV.test.meta", "Nats-Sequence": "3"}, end(nil)}, 0, fleetlog.Message{}, `stream "" has answered`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mu.Lock()
			parts = tt.parts
			mu.Unlock()
			view, err := l.Read(t.Context(), "meta", "node.*")
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if view.Position != tt.position {
				t.Errorf("position %d, want %d", view.Position, tt.position)
			}
			same(t, tt.message, view.Messages["meta"])
			mu.Lock()
			defer mu.Unlock()
			if want := `{"multi_last":["$KV.test.meta","$KV.test.node.\u003e"]}`; asked != want {
				t.Errorf("it was asked for %s, want %s", asked, want)
			}
		})
	}
}

// TestDomainIsAsked: each request goes to the domain.
func TestDomainIsAsked(t *testing.T) {
	s := stand(t, map[string]string{
		"$JS.far.API.STREAM.INFO.":     info(t),
		"$JS.far.API.$KV.test.":        refusal(wrongPlace),
		"$JS.far.API.STREAM.MSG.GET.":  refusal(noMessage),
		"$JS.far.API.DIRECT.GET.":      "",
		"$JS.far.API.CONSUMER.CREATE.": refusal(10008),
	})
	l, err := fleetnats.Open(t.Context(), s.nc, fleetnats.Config{Bucket: "test", Domain: "far"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), fleetlog.Entry{Key: "meta", ID: "i"}); !errors.Is(err, fleetlog.ErrConflict) {
		t.Errorf("append: %v", err)
	}
	l.Read(t.Context(), "meta")
	l.Follow(t.Context(), 1)
	var got []string
	for _, m := range s.take("") {
		got = append(got, strings.Join(strings.Split(m.Subject, ".")[:5], "."))
	}
	want := []string{"$JS.far.API.STREAM.INFO", "$JS.far.API.$KV.test", "$JS.far.API.STREAM.MSG", "$JS.far.API.DIRECT.GET", "$JS.far.API.STREAM.INFO", "$JS.far.API.CONSUMER.CREATE"}
	same(t, want, got)
}

// TestFollowAsks: the consumer that a follower creates, and deletes in the end.
func TestFollowAsks(t *testing.T) {
	made := text(t, jetstream.ConsumerInfo{Stream: "KV_test", Name: "made"})
	s := stand(t, map[string]string{"$JS.API.STREAM.INFO.": info(t), "$JS.API.CONSUMER.CREATE.": made, "$JS.API.CONSUMER.DELETE.": `{"success":true}`})
	l := openAt(t, s)
	for _, from := range []fleetlog.Position{0, 1, 5} {
		s.take("")
		f, err := l.Follow(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		var request struct{ Config jetstream.ConsumerConfig }
		asked := s.take("$JS.API.CONSUMER.CREATE.")
		if len(asked) != 1 || json.Unmarshal(asked[0].Data, &request) != nil {
			t.Fatalf("it was asked %d times", len(asked))
		}
		name := request.Config.Name
		if !strings.HasPrefix(name, "fleet_") || len(name) < 20 || !strings.HasSuffix(asked[0].Subject, "."+name) {
			t.Errorf("the consumer's name is %q, the subject %s", name, asked[0].Subject)
		}
		want := jetstream.ConsumerConfig{Name: name, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(max(from, 1)),
			AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: 30 * time.Second}
		same(t, want, request.Config)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := f.Next(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "fleetnats: follow: ") {
			t.Errorf("nothing is delivered until the context ends: %v", err)
		}
		cancel()
		f.Close()
		for began := time.Now(); len(s.take("$JS.API.CONSUMER.DELETE.KV_test.")) == 0; rest(t) {
			if time.Since(began) > 10*time.Second {
				t.Fatal("the consumer was not deleted")
			}
		}
	}
	s.set("$JS.API.CONSUMER.CREATE.", refusal(10008))
	if _, err := l.Follow(t.Context(), 1); err == nil || !strings.HasPrefix(err.Error(), "fleetnats: follow: ") {
		t.Errorf("without a consumer: %v", err)
	}
	s.set("$JS.API.STREAM.INFO.", refusal(noStream))
	if _, err := l.Follow(t.Context(), 1); !errors.Is(err, jetstream.ErrStreamNotFound) || !strings.HasPrefix(err.Error(), "fleetnats: stream KV_test: ") {
		t.Errorf("without a stream: %v", err)
	}
}

// TestLetters: a letter reaches the log that listens at its address, until that stops,
// and no other address is written to.
func TestLetters(t *testing.T) {
	s := stand(t, map[string]string{"$JS.API.STREAM.INFO.": info(t)})
	l := openAt(t, s)
	got := make(chan string, 10)
	address, stop, err := l.Listen(func(data []byte) { got <- string(data) })
	if err != nil || !strings.HasPrefix(address, "_FLEET.test.") || len(address) < 30 {
		t.Fatalf("got %s, %v", address, err)
	}
	other, stopOther, err := l.Listen(func(data []byte) { got <- "other " + string(data) })
	if err != nil || other == address {
		t.Fatalf("got %s, %v", other, err)
	}
	defer stopOther()
	elsewhere := make(chan string, 10)
	answer(t, s.nc, "elsewhere", func(m *nats.Msg) { elsewhere <- string(m.Data) })
	answer(t, s.nc, "_FLEET.another.x", func(m *nats.Msg) { elsewhere <- string(m.Data) })
	if err := s.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	l.Send("elsewhere", []byte("1"))
	l.Send("_FLEET.another.x", []byte("2"))
	l.Send(address, []byte("3"))
	if m := <-got; m != "3" {
		t.Errorf("got %q", m)
	}
	stop()
	l.Send(address, []byte("4"))
	l.Send(other, []byte("5"))
	if m := <-got; m != "other 5" {
		t.Errorf("got %q", m)
	}
	for range 300 { // more than may be on their way at a time
		l.Send(other, []byte("6"))
		if m := <-got; m != "other 6" {
			t.Fatalf("got %q", m)
		}
	}
	select {
	case m := <-elsewhere:
		t.Errorf("letter %s went elsewhere", m)
	default:
	}
	s.nc.Close()
	if _, _, err := l.Listen(func([]byte) {}); err == nil || !strings.HasPrefix(err.Error(), "fleetnats: ") {
		t.Errorf("over a closed connection: %v", err)
	}
	if _, err := l.Read(t.Context(), "meta"); err == nil || !strings.HasPrefix(err.Error(), "fleetnats: read: ") {
		t.Errorf("a read over a closed connection: %v", err)
	}
	if _, err := l.Append(t.Context(), fleetlog.Entry{Key: "meta"}); err == nil || !strings.HasPrefix(err.Error(), "fleetnats: append: ") {
		t.Errorf("an append over a closed connection: %v", err)
	}
}
