package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// certificates are the two files of a certificate and its key. They are read again when
// they change. A bad pair changes nothing: while only one of the files has been renewed,
// the server keeps the old certificate.
type certificates struct {
	cert, key string // paths
	logger    *slog.Logger
	current   atomic.Pointer[tls.Certificate]

	mu   sync.Mutex // guards the field below
	seen string     // stamp of the files when they were last read
}

// load reads the files.
func (c *certificates) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = c.stamp()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.current.Store(&pair)
	return nil
}

// stamp returns a text that changes with the files.
func (c *certificates) stamp() string {
	var stamp strings.Builder
	for _, path := range []string{c.cert, c.key} {
		info, err := os.Stat(path)
		if err != nil {
			stamp.WriteString("none;")
			continue
		}
		stamp.WriteString(fmt.Sprint(info.Size(), info.ModTime().UnixNano(), ";"))
	}
	return stamp.String()
}

// renew reads the files if they have changed, or if it is told to.
func (c *certificates) renew(always bool) {
	c.mu.Lock()
	same := c.seen == c.stamp()
	c.mu.Unlock()
	if same && !always {
		return
	}
	if err := c.load(); err != nil {
		c.logger.Error("the certificate cannot be renewed; the one of before is used", "error", err)
		return
	}
	c.logger.Info("certificate read", "expires", c.current.Load().Leaf.NotAfter)
}

// watch renews until the context is done. A signal on hup makes it read the files even if
// they have not changed.
func (c *certificates) watch(ctx context.Context, hup <-chan os.Signal) {
	ticker := time.NewTicker(certificatesEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.renew(false)
		case <-hup:
			c.renew(true)
		case <-ctx.Done():
			return
		}
	}
}
