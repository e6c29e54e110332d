package tokenhealth

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/tokencache"
)

// A Check is one thing that must be in order.
type Check struct {
	// Name says what is checked: "file" for example.
	Name string

	// Ready returns nil if it is in order. The error's text is shown to every client,
	// without credentials. The context ends after a second. It is not called again
	// before it has returned.
	Ready func(context.Context) error
}

var (
	errCannotBeAsked = errors.New("it cannot be asked")
	errNotJoined     = errors.New("nothing is loaded yet: this node has not joined its fleet")
	errLeaseLapsed   = errors.New("the lease of this node has run out")
	errSlow          = errors.New("it has not answered within a second")
)

// Source returns a check that asks a source about a token which nobody has. A file that
// failed closed cannot be asked, and neither can an index whose database is away.
func Source[R any](name string, src tokencache.Source[R]) Check {
	probe := tokencache.Account{Namespace: "svctoken", Service: "health"}.TokenID("probe")
	return Check{name, func(ctx context.Context) error {
		if _, err := src.Lookup(ctx, probe); err != nil {
			return errCannotBeAsked // the error itself is for the host's log
		}
		return nil
	}}
}

// Fleet returns a check that a node may answer at present: it has joined its fleet, and
// its lease has not run out.
func Fleet(name string, node interface{ Status() fleet.Status }) Check {
	var joined bool // guarded by the promise that Ready is not called again before it returns
	return Check{name, func(context.Context) error {
		status := node.Status()
		joined = joined || status.Serving
		switch {
		case !joined:
			return errNotJoined
		case !status.Serving || !time.Now().Before(status.Until):
			return errLeaseLapsed
		}
		return nil
	}}
}

const (
	askTimeout = time.Second // for one answer
	fresh      = time.Second // how long an answer is remembered
)

// An asker asks one question at a time.
type asker struct {
	check Check

	mu      sync.Mutex // guards the fields below
	asked   time.Time  // when the last answer came; zero: never
	err     error      // the last answer
	pending chan struct{}
}

// ask returns the answer, or that there is none in time.
func (a *asker) ask() error {
	done, err := a.begin()
	if done == nil {
		return err
	}
	timer := time.NewTimer(askTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		return errSlow
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// begin asks, unless somebody does already, and returns what is closed when the answer
// has come. Nil: the last answer is fresh, and is returned.
func (a *asker) begin() (done chan struct{}, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pending != nil {
		return a.pending, nil
	}
	if !a.asked.IsZero() && time.Since(a.asked) < fresh {
		return nil, a.err
	}
	a.pending = make(chan struct{})
	go a.run(a.pending)
	return a.pending, nil
}

func (a *asker) run(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	err := errCannotBeAsked // if it panics
	defer func() {
		recover()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked, a.err, a.pending = time.Now(), err, nil
		close(done)
	}()
	err = a.check.Ready(ctx)
}
