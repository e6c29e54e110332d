package evict

import "github.com/svctoken/svctoken/tokencache"

// ParseWire is Parse with the grammar of the wire.
func ParseWire(namespace, service, names string) (tokencache.Selector, error) {
	sel, err := parseWire(namespace, service, names)
	if err != nil {
		return tokencache.Selector{}, err
	}
	return sel, nil
}
