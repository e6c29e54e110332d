package tokencache

// A query is one bearer, without padding, and an assumption of where its head ends.
type query struct {
	bearer   string
	cut      int
	hash     uint32 // of the head
	digested bool
	digest   digest // of the tail, if digested
}

// wellFormed reports whether the query's assumption about the bearer is right. If the
// digest agrees, it is; if not, the bearer has to be checked.
func (q *query) wellFormed() bool {
	var buf [stackBuffer]byte
	plain, err := decodeBearer(buf[:], q.bearer)
	defer clear(plain) // which is in buf, or in memory of its own if buf is too short
	colon := (q.cut*6+7)/8 - len(bearerPrefix) - len(":")
	return err == nil && plain[colon] == ':'
}
