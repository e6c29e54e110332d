package evict

import "github.com/svctoken/svctoken/tokencache"

// ParseWire is Parse with Elasticsearch's grammar.
func ParseWire(namespace, service, names string) (tokencache.Selector, error) {
	sel, err := parseWire(namespace, service, names)
	if err != nil {
		return tokencache.Selector{}, err
	}
	return sel, nil
}
