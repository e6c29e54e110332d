package evict_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
)

// grammar is the table of formats: what a list of names selects in the Go API and
// on the wire, or what its error says.
var grammar = []struct {
	names           string
	api, wire       string // the selector's names
	apiErr, wireErr string // or a part of the error
}{
	{names: "token1", api: "token1", wire: "token1"},
	{names: "a,b", api: "a,b", wire: "a,b"},
	{names: "b,a", api: "a,b", wire: "a,b"},
	{names: "a,a", api: "a", wire: "a"},
	{names: "*", api: "*", wire: "*"},
	{names: "", apiErr: "there are none", wire: "*"},
	{names: "_all", apiErr: `name 1: invalid token name "_all"`, wire: "*"},
	{names: "a,", apiErr: "name 2: it is empty", wire: "a"},
	{names: "a,,", apiErr: "name 2: it is empty", wire: "a"},
	{names: ",", apiErr: "name 1: it is empty", wire: "*"},
	{names: ",,,", apiErr: "name 1: it is empty", wire: "*"},
	{names: "*,", apiErr: "name 1: * stands alone", wire: "*"},
	{names: "a,,b", apiErr: "name 2: it is empty", wireErr: "name 2: it is empty"},
	{names: ",a", apiErr: "name 1: it is empty", wireErr: "name 1: it is empty"},
	{names: "*,a", apiErr: "name 1: * stands alone", wireErr: "name 1: * stands alone"},
	{names: "a,*", apiErr: "name 2: * stands alone", wireErr: "name 2: * stands alone"},
	{names: "tok*", apiErr: "name 1: * stands alone", wireErr: "name 1: * stands alone"},
	{names: "a?", apiErr: "name 1: * stands alone", wireErr: "name 1: * stands alone"},
	{names: "a,_all", apiErr: `name 2: invalid token name "_all"`, wireErr: `name 2: invalid token name "_all"`},
	{names: " a", apiErr: `invalid token name " a"`, wireErr: `invalid token name " a"`},
	{names: "a ", apiErr: `invalid token name "a "`, wireErr: `invalid token name "a "`},
	{names: "a, b", apiErr: `name 2: invalid token name " b"`, wireErr: `name 2: invalid token name " b"`},
	{names: "a/b", apiErr: `invalid token name "a/b"`, wireErr: `invalid token name "a/b"`},
	{names: "_x", apiErr: `invalid token name "_x"`, wireErr: `invalid token name "_x"`},
	{names: "a\n", apiErr: `invalid token name "a\n"`, wireErr: `invalid token name "a\n"`},
	{names: strings.Repeat("x", 256), api: strings.Repeat("x", 256), wire: strings.Repeat("x", 256)},
	{names: strings.Repeat("x", 257), apiErr: "(257 bytes)", wireErr: "(257 bytes)"},
}

func TestParse(t *testing.T) {
	for _, test := range grammar {
		checkParse(t, "Parse", evict.Parse, test.names, test.api, test.apiErr)
		checkParse(t, "ParseWire", evict.ParseWire, test.names, test.wire, test.wireErr)
	}
}

func checkParse(t *testing.T, name string, parse func(namespace, service, names string) (tokencache.Selector, error), names, want, message string) {
	t.Helper()
	sel, err := parse("elastic", "fleet-server", names)
	if message == "" {
		if got := "elastic/fleet-server/" + want; err != nil || sel.String() != got {
			t.Errorf("%s(%q): got %v, %v, want %s", name, names, sel, err, got)
		}
		return
	}
	if _, ok := errors.AsType[*evict.SelectorError](err); !ok || !strings.Contains(err.Error(), message) || !strings.HasPrefix(err.Error(), "evict: ") {
		t.Errorf("%s(%q): got %v, want a SelectorError that says %q", name, names, err, message)
	}
	if sel.String() != "" {
		t.Errorf("%s(%q): got %v beside an error", name, names, sel)
	}
}

func TestParseAccount(t *testing.T) {
	for _, account := range [][2]string{{"", "s"}, {"n", ""}, {"_n", "s"}, {"n", "a/b"}, {"*", "s"}, {"n", "*"}} {
		for _, names := range []string{"*", "a", ""} {
			_, err := evict.Parse(account[0], account[1], names)
			if selErr, ok := errors.AsType[*evict.SelectorError](err); !ok || selErr.Position != 0 || selErr.Input != account[0] && selErr.Input != account[1] || !strings.HasPrefix(err.Error(), "evict: invalid ") {
				t.Errorf("%q: got %#v, want a SelectorError", account, err)
			}
			if nameErr, ok := errors.AsType[*tokencache.NameError](err); !ok || nameErr.Field == "token name" {
				t.Errorf("%q: got %v, want a NameError of the account", account, err)
			}
		}
	}
}

func TestSelectorErrorFields(t *testing.T) {
	_, err := evict.Parse("elastic", "fleet-server", "a,b,_c")
	selErr, ok := errors.AsType[*evict.SelectorError](err)
	if !ok || selErr.Position != 3 || selErr.Input != "a,b,_c" {
		t.Errorf("got %#v", err)
	}
	if nameErr, ok := errors.AsType[*tokencache.NameError](err); !ok || nameErr.Input != "_c" {
		t.Errorf("got %#v within", nameErr)
	}
	_, err = evict.Parse("elastic", "fleet-server", strings.Repeat("x,", 1000))
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("got %v, want a short error", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, test := range grammar {
		f.Add("elastic", "fleet-server", test.names)
	}
	f.Fuzz(func(t *testing.T, namespace, service, names string) {
		for _, parse := range []func(_, _, _ string) (tokencache.Selector, error){evict.Parse, evict.ParseWire} {
			sel, err := parse(namespace, service, names)
			if err != nil {
				if _, ok := errors.AsType[*evict.SelectorError](err); !ok || sel.String() != "" {
					t.Errorf("got %v, %v", sel, err)
				}
				continue
			}
			// Parse reads back what Selector.String writes.
			prefix := namespace + "/" + service + "/"
			again, err := evict.Parse(namespace, service, strings.TrimPrefix(sel.String(), prefix))
			if err != nil || !again.Equal(sel) || !strings.HasPrefix(sel.String(), prefix) {
				t.Errorf("got %v from %v, %v", again, sel, err)
			}
		}
	})
}

// TestParseBearer: a bearer that was pasted in the place of a name is refused, and no
// part of the error repeats it.
func TestParseBearer(t *testing.T) {
	bearer := unknown.RevealBearer()
	for _, input := range [][3]string{
		{"elastic", "fleet-server", bearer},
		{"elastic", "fleet-server", "a," + bearer},
		{"elastic", "fleet-server", "a,,b," + bearer},
		{"elastic", "fleet-server", " " + bearer},
		{"elastic", "fleet-server", "Bearer " + bearer},
		{"elastic", "fleet-server", bearer + "*"},
		{bearer, "fleet-server", "a"},
		{"elastic", bearer, "*"},
		{"elastic", "Bearer " + bearer, "*"},
		{"elastic", "fleet-server", "AAEAA"},
	} {
		for name, parse := range map[string]func(namespace, service, names string) (tokencache.Selector, error){"Parse": evict.Parse, "ParseWire": evict.ParseWire} {
			sel, err := parse(input[0], input[1], input[2])
			selErr, ok := errors.AsType[*evict.SelectorError](err)
			if !ok || sel.String() != "" {
				t.Errorf("%s: got %v, %v", name, sel, err)
				continue
			}
			for _, text := range []string{err.Error(), fmt.Sprintf("%+v", *selErr), fmt.Sprintf("%#v", selErr.Err)} {
				if strings.Contains(text, bearer[5:]) {
					t.Errorf("%s: %s repeats the bearer", name, text)
				}
			}
		}
	}
}
