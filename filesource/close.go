package filesource

import (
	"context"
	"fmt"

	"github.com/svctoken/svctoken/tokencache"
)

// Close stops following the file, and makes the caches forget its tokens: nobody would
// tell them of changes any more. From then on Lookup, Reload and edits return an error
// that wraps tokencache.ErrClosed, and so do those that are under way, except an edit that
// has begun to replace the file: it is finished. List lists nothing; Status stays as it is.
//
// Close waits until the poller has ended. It waits neither for a call of Config.OnReload
// or Config.Logger that the poller is in the middle of, nor for the caches that it is
// telling of a change, as Close may be called there; and for a file system that does not
// answer only half a second. Once Close has returned, no call of Config.OnReload or
// Config.Logger begins. Close may be called again.
func (f *File) Close() {
	first := f.closed.CompareAndSwap(false, true) // before the caches forget: no load that begins later finds a token
	f.end()
	if first { // an observer may call Close while they do
		f.caches.Clear(context.Background(), tokencache.CauseSource)
	}
	f.notifier.untilPollerEnds()
}

func (f *File) closedError() error {
	return fmt.Errorf("filesource: %s: %w", f.shown, tokencache.ErrClosed)
}
