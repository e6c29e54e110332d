package evict

// ParseWire is Parse with the grammar of the wire.
var ParseWire = parseWire
