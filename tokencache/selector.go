package tokencache

import (
	"iter"
	"slices"
	"strings"
)

// A Selector says what to evict: one account, and either some of its tokens by
// name or all of them. [Account.Select] and [Account.SelectAll] make one; both
// check the names, so that a Selector is always valid. The zero Selector selects
// nothing.
//
// It is immutable and safe for concurrent use by multiple goroutines.
type Selector struct {
	account Account
	all     bool
	names   []string // sorted, unique; empty when all
}

func newSelector(a Account, names []string) (Selector, error) {
	if err := a.ValidateNew(); err != nil {
		return Selector{}, err
	}
	if len(names) == 0 {
		return Selector{}, &NameError{Field: "token name", Rule: "at least one name is needed; SelectAll selects every token"}
	}
	sorted := make([]string, len(names))
	for i, name := range names {
		if err := a.TokenID(name).ValidateNew(); err != nil {
			return Selector{}, err
		}
		sorted[i] = strings.Clone(name)
	}
	slices.Sort(sorted)
	return Selector{account: a, names: slices.Compact(sorted)}, nil
}

// Account returns the account whose tokens are selected.
func (s Selector) Account() Account { return s.account }

// All reports whether every token of the account is selected.
func (s Selector) All() bool { return s.all }

// Names yields the selected token names, sorted and each once. It yields none
// when [Selector.All] reports true.
func (s Selector) Names() iter.Seq[string] { return slices.Values(s.names) }

// Selects reports whether the selector covers this token.
func (s Selector) Selects(id TokenID) bool {
	if s.account != id.Account {
		return false
	}
	if s.all {
		return true
	}
	_, found := slices.BinarySearch(s.names, id.Name)
	return found
}

// Equal reports whether both selectors cover the same tokens.
func (s Selector) Equal(other Selector) bool {
	return s.account == other.account && s.all == other.all && slices.Equal(s.names, other.names)
}

// String returns namespace/service/names, names being * or the token names
// with commas between. The zero Selector is the empty string.
func (s Selector) String() string {
	switch {
	case s.all:
		return s.account.String() + "/*"
	case len(s.names) == 0:
		return ""
	default:
		return s.account.String() + "/" + strings.Join(s.names, ",")
	}
}

// Select returns the selector of the account's tokens with these names, in any
// order; a name given twice counts once. No names at all is a [*NameError], as
// is a name that breaks the rules of [TokenID.ValidateNew]: every token of the account
// has a constructor of its own, [Account.SelectAll], so that an empty list never means
// "all". A source selects a token that it holds with [TokenID.Select].
func (a Account) Select(names ...string) (Selector, error) { return newSelector(a, names) }

// SelectAll returns the selector of every token of the account.
func (a Account) SelectAll() (Selector, error) {
	if err := a.Validate(); err != nil {
		return Selector{}, err
	}
	return Selector{account: a, all: true}, nil
}

// Select returns the selector of this one token, which may begin as a bearer does: a
// source may hold it. The error is a [*NameError].
func (id TokenID) Select() (Selector, error) {
	if err := id.Validate(); err != nil {
		return Selector{}, err
	}
	return Selector{account: id.Account, names: []string{strings.Clone(id.Name)}}, nil
}
