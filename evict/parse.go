package evict

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/svctoken/svctoken/internal/eswire"
	"github.com/svctoken/svctoken/internal/quote"
	"github.com/svctoken/svctoken/tokencache"
)

// A SelectorError reports a namespace, service or list of token names that
// selects nothing valid.
type SelectorError struct {
	Input    string // the list of names, or the namespace or service, without what may be a bearer
	Position int    // which name of the list breaks the rule, from 1; 0 if it is not one of them
	Rule     string // the rule that it breaks
	Err      error  // the *tokencache.NameError behind it, or nil
}

// Error names the input, shortened if it is long, the position and the rule.
func (e *SelectorError) Error() string {
	switch {
	case e.Err != nil:
		return "evict: " + e.reason()
	case e.Position == 0 && e.Input != "":
		return "evict: account: " + e.reason()
	}
	return fmt.Sprintf("evict: token names %s: %s", quote.Short(e.Input), e.reason())
}

// reason is Error without the input, which a response repeats anyway.
func (e *SelectorError) reason() string {
	rule := e.Rule
	if e.Err != nil {
		rule = strings.TrimPrefix(e.Err.Error(), "tokencache: ")
	}
	if e.Position > 0 {
		return fmt.Sprintf("name %d: %s", e.Position, rule)
	}
	return rule
}

// Unwrap returns Err.
func (e *SelectorError) Unwrap() error { return e.Err }

const everything = "*"

// Parse returns the selector of an account's tokens, as the package documentation
// describes. It is the inverse of Selector.String. The error is a
// [*SelectorError]; it names the first name that breaks a rule.
//
// An empty list is an error: it is most likely a variable that was not set, and
// must not mean every token.
func Parse(namespace, service, names string) (tokencache.Selector, error) {
	sel, err := parse(namespace, service, names)
	if err != nil {
		return tokencache.Selector{}, err // as an error, a nil *SelectorError is not nil
	}
	return sel, nil
}

func parse(namespace, service, names string) (tokencache.Selector, *SelectorError) {
	account, err := parseAccount(namespace, service)
	if err != nil {
		return tokencache.Selector{}, err
	}
	switch names {
	case "":
		return tokencache.Selector{}, &SelectorError{Rule: "there are none; * means every token of the account"}
	case everything:
		return selectAll(account)
	}
	return parseList(account, names, strings.Split(names, ","))
}

// parseWire is Parse with Elasticsearch's grammar: an empty list and _all mean every
// token, and empty names at the end are dropped.
func parseWire(namespace, service, names string) (tokencache.Selector, *SelectorError) {
	account, err := parseAccount(namespace, service)
	if err != nil {
		return tokencache.Selector{}, err
	}
	trimmed := strings.TrimRight(names, ",")
	switch trimmed {
	case "", "_all", everything:
		return selectAll(account)
	}
	return parseList(account, names, strings.Split(trimmed, ","))
}

func parseAccount(namespace, service string) (tokencache.Account, *SelectorError) {
	account := tokencache.Account{Namespace: namespace, Service: service}
	err := account.Validate()
	for _, name := range []string{namespace, service} {
		if holdsBearer(name, err) {
			return account, &SelectorError{Input: eswire.Redact(name), Rule: bearerRule}
		}
	}
	return account, wrap(err)
}

// bearerRule is broken by a name that begins as every bearer does: somebody has pasted a
// token in the place of a name. The error does not repeat it.
const bearerRule = "it holds what begins as a bearer does; a token's name is asked for, not the token"

// holdsBearer reports whether a name begins as a bearer does. If err says that the name
// is invalid, the bearer may follow a space, a quote or the word Bearer.
func holdsBearer(name string, err error) bool {
	return eswire.IsBearer(name) || err != nil && eswire.Redact(name) != name
}

// wrap returns the SelectorError for tokencache's refusal of a name that is not in
// the list, or nil for nil.
func wrap(err error) *SelectorError {
	if err == nil {
		return nil
	}
	selErr := &SelectorError{Rule: err.Error(), Err: err}
	if nameErr, ok := errors.AsType[*tokencache.NameError](err); ok {
		selErr.Input, selErr.Rule = nameErr.Input, nameErr.Rule
	}
	return selErr
}

func selectAll(account tokencache.Account) (tokencache.Selector, *SelectorError) {
	sel, err := account.SelectAll()
	return sel, wrap(err)
}

func parseList(account tokencache.Account, input string, names []string) (tokencache.Selector, *SelectorError) {
	reject := func(i int, rule string, err error) (tokencache.Selector, *SelectorError) {
		return tokencache.Selector{}, &SelectorError{Input: eswire.Redact(input), Position: i + 1, Rule: rule, Err: err}
	}
	for i, name := range names {
		err := account.TokenID(name).Validate()
		switch {
		case name == "":
			return reject(i, "it is empty", nil)
		case holdsBearer(name, err):
			return reject(i, bearerRule, nil)
		case strings.ContainsAny(name, "*?"):
			return reject(i, "* stands alone, and there are no other wildcards", nil)
		}
		if nameErr, ok := errors.AsType[*tokencache.NameError](err); ok {
			return reject(i, nameErr.Rule, nameErr)
		}
	}
	sel, err := account.Select(slices.Clip(names)...)
	return sel, wrap(err)
}
