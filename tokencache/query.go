package tokencache

// A query is one bearer, without padding, and where its head is taken to end.
type query struct {
	bearer   string
	cut      int
	hash     uint32 // of the head
	digested bool
	digest   digest // of the tail, if digested
}

// wellFormed reports whether the bearer is what the query takes it for. A digest
// that agrees says so by itself; one that does not may be of anything.
func (q *query) wellFormed() bool {
	var buf [stackBuffer]byte
	plain, err := decodeBearer(buf[:], q.bearer)
	defer clear(plain) // which is in buf, or in memory of its own if buf is too short
	colon := (q.cut*6+7)/8 - len(bearerPrefix) - len(":")
	return err == nil && plain[colon] == ':'
}
