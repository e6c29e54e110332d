package fleetsql_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
)

// TestReadAsks: what a read asks for, by key and by prefix.
func TestReadAsks(t *testing.T) {
	for _, test := range []struct {
		name  string
		keys  []string
		where string
		args  []any
	}{
		{"no key", nil, "WHERE (FALSE) AND ", nil},
		{"one key", []string{"doc.a"}, "WHERE (key = $1) AND ", []any{"doc.a"}},
		{"two keys", []string{"doc.a", "meta"}, "WHERE (key = $1 OR key = $2) AND ", []any{"doc.a", "meta"}},
		{"a prefix", []string{"doc.a.*"}, "WHERE (key >= $1 AND key < $2) AND ", []any{"doc.a.", "doc.a/"}},
		{"both", []string{"doc.*", "meta"}, "WHERE (key >= $1 AND key < $2 OR key = $3) AND ", []any{"doc.", "doc/", "meta"}},
	} {
		f := newFake()
		l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
		if _, err := l.Read(t.Context(), test.keys...); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		for _, c := range f.calls("read") {
			if !reflect.DeepEqual(c.args, test.args) || !strings.Contains(c.text, test.where) {
				t.Errorf("%s: got %s, with %q, want %s, with %q", test.name, c.text, c.args, test.where, test.args)
			}
		}
	}
}

// TestViews: a view has each message as it is, and none if there are none.
func TestViews(t *testing.T) {
	f := newFake()
	f.rev = 9
	l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
	view, err := l.Read(t.Context(), "doc.*")
	want := fleetlog.View{Position: 9, Messages: map[string]fleetlog.Message{}}
	if err != nil || !reflect.DeepEqual(view, want) {
		t.Errorf("an empty log: got %+v, %v, want %+v", view, err, want)
	}
	want = fleetlog.View{Position: 9, Messages: map[string]fleetlog.Message{
		"doc.a": {Position: 3, Key: "doc.a", Value: []byte("a"), ID: "1"},
		"doc.b": {Position: 4, Key: "doc.b", Value: []byte("b"), Deleted: true, ID: "2"},
	}}
	f.set(func() { f.messages = []fleetlog.Message{want.Messages["doc.a"], want.Messages["doc.b"]} })
	view, err = l.Read(t.Context(), "doc.*")
	if err != nil || !reflect.DeepEqual(view, want) {
		t.Errorf("got %+v, %v, want %+v", view, err, want)
	}
}

// TestReadFails: a read of which any call fails has an error, and shows nothing: a view
// that lacks a row would be a view without a document.
func TestReadFails(t *testing.T) {
	f := newFake()
	l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
	f.write("doc.a")
	f.write("doc.b")
	reads := map[string]func() (nothing bool, err error){
		"read": func() (bool, error) {
			view, err := l.Read(t.Context(), "doc.*")
			return reflect.DeepEqual(view, fleetlog.View{}), err
		},
		"follow": func() (bool, error) {
			follower, err := l.Follow(t.Context(), 1)
			return follower == nil, err
		},
	}
	for op, query := range map[string]string{"read": "read", "follow": "news"} {
		for n := range 4 { // the query, and each row, and the end
			left := n
			f.set(func() {
				f.fails = func(context.Context, string) error {
					if left--; left < 0 {
						return io.ErrUnexpectedEOF
					}
					return nil
				}
			})
			nothing, err := reads[op]()
			if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "fleetsql: "+op+": unexpected EOF" || !nothing {
				t.Errorf("%s, call %d fails: got %v, and nothing else: %t", op, n, err, nothing)
			}
			f.set(func() { f.fails = nil })
		}
		f.set(func() { f.garbles = query })
		if nothing, err := reads[op](); err == nil || !strings.HasPrefix(err.Error(), "fleetsql: "+op+": ") || !nothing {
			t.Errorf("%s, a row that cannot be read: got %v, and nothing else: %t", op, err, nothing)
		}
		f.set(func() { f.garbles = "" })
		if _, err := reads[op](); err != nil {
			t.Errorf("%s, then: %v", op, err)
		}
	}
}
