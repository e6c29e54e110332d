package tokencache_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

func TestSelector(t *testing.T) {
	names := []string{"b", "a", "b"}
	sel := named(t, fleet, names...)
	names[0] = "z" // the selector has its own
	if got, want := sel.String(), "elastic/fleet-server/a,b"; got != want {
		t.Errorf("String: got %q, want %q", got, want)
	}
	if diff := cmp.Diff([]string{"a", "b"}, slices.Collect(sel.Names())); diff != "" {
		t.Errorf("Names (-want +got):\n%s", diff)
	}
	if !cmp.Equal(sel, named(t, fleet, "a", "b")) || cmp.Equal(sel, named(t, fleet, "a")) || cmp.Equal(sel, all(t, fleet)) {
		t.Error("Equal does not tell selectors apart")
	}
	if sel.All() || !all(t, fleet).All() || all(t, fleet).String() != "elastic/fleet-server/*" {
		t.Error("All does not report a wildcard")
	}
	if sel.Account() != fleet {
		t.Errorf("Account: got %v", sel.Account())
	}
}

func TestSelectorSelects(t *testing.T) {
	sibling := tokencache.Account{Namespace: "elastic", Service: "fleet-server-remote"}
	for _, test := range []struct {
		name string
		sel  tokencache.Selector
		id   tokencache.TokenID
		want bool
	}{
		{"name", named(t, fleet, "token1"), fleet.TokenID("token1"), true},
		{"longer name", named(t, fleet, "token1"), fleet.TokenID("token10"), false},
		{"shorter name", named(t, fleet, "token10"), fleet.TokenID("token1"), false},
		{"sibling account", named(t, fleet, "token1"), sibling.TokenID("token1"), false},
		{"all", all(t, fleet), fleet.TokenID("x"), true},
		{"all of a sibling", all(t, fleet), sibling.TokenID("x"), false},
		{"zero", tokencache.Selector{}, fleet.TokenID("x"), false},
		{"zero of the zero account", tokencache.Selector{}, tokencache.TokenID{}, false},
	} {
		if got := test.sel.Selects(test.id); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestSelectorRejects(t *testing.T) {
	for name, err := range map[string]error{
		"no names":      second(fleet.Select()),
		"empty name":    second(fleet.Select("a", "")),
		"wildcard":      second(fleet.Select("*")),
		"bad account":   second(tokencache.Account{Namespace: "_", Service: "s"}.Select("a")),
		"bad account *": second(tokencache.Account{}.SelectAll()),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }
