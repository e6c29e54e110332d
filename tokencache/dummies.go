package tokencache

import "sync/atomic"

// Dummies are the first hashes that a source has returned, of each form; nil: none yet.
// If names are hidden, a refusal computes one hash of each form, the token's own or the
// dummy.
type dummies struct {
	fast, slow atomic.Pointer[func(Secret) bool]
}

func (d *dummies) of(fast bool) *atomic.Pointer[func(Secret) bool] {
	if fast {
		return &d.fast
	}
	return &d.slow
}

func (d *dummies) keep(verify func(Secret) bool, fast bool) {
	if of := d.of(fast); of.Load() == nil {
		dummy := verify // storing verify itself would make each load allocate it
		of.Store(&dummy)
	}
}

func (d *dummies) get(fast bool) func(Secret) bool {
	if verify := d.of(fast).Load(); verify != nil {
		return *verify
	}
	return nil
}
