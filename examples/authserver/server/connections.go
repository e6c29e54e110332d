package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/internal/eswire"
)

const (
	mostConnections     = 16384
	memoryForConnection = 32 << 10 // connections may use half of the process's memory
)

// connectionsOfMemory returns how many connections may be open at once with the memory
// that the process may use, by its control group or GOMEMLIMIT.
func connectionsOfMemory() int {
	limit := debug.SetMemoryLimit(-1)
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if content, err := os.ReadFile(path); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64); err == nil && n > 0 {
				limit = min(limit, n)
			}
		}
	}
	if limit == math.MaxInt64 {
		return mostConnections
	}
	return int(max(16, min(mostConnections, limit/2/memoryForConnection)))
}

// A boundListener limits how many connections are open at once. It logs when it turns one
// away.
type boundListener struct {
	net.Listener
	tls    *tls.Config // nil: without
	most   int64
	logger *slog.Logger

	open  atomic.Int64
	lines lineLimit
}

// Accept returns the next connection, with TLS if that is configured. The first read does
// the handshake.
func (l *boundListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) > l.most {
			l.open.Add(-1)
			l.turnAway(c)
			continue
		}
		release := sync.OnceFunc(func() { l.open.Add(-1) })
		if l.tls != nil {
			c = tls.Server(c, l.tls)
		}
		return &conn{c, release}, nil
	}
}

func (l *boundListener) turnAway(c net.Conn) {
	if ok, unlogged := l.lines.allow(); ok {
		l.logger.Warn("a connection was turned away: there are as many as -max-connections allows", "from", c.RemoteAddr().String(), "connections", l.most, "unlogged", unlogged)
	}
	if l.tls == nil {
		c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // a few bytes, into an empty buffer
		c.Write(rawError(http.StatusServiceUnavailable, "too many connections", "Retry-After: 1\r\n"))
	}
	c.Close()
}

// A conn is a connection that the limit counts. On it, even refusals by net/http have the
// form of all other answers.
type conn struct {
	net.Conn
	release func()
}

func (c *conn) Close() error {
	c.release()
	return c.Conn.Close()
}

// CloseWrite exists because net/http looks for it: it lets a client read the answer to a
// request that was not read to its end.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Read answers a client that speaks HTTP to a server with TLS.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && record.Conn != nil && looksLikeHTTP(record.RecordHeader) {
		record.Conn.Write(rawError(http.StatusBadRequest, "the server speaks HTTPS, and the request is HTTP", ""))
		record.Conn.Close()
	}
	return n, err
}

func looksLikeHTTP(header [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH"}, string(header[:]))
}

// refusedHeader is what net/http writes after the status line of its own refusals, each
// in one call of Write. A handler's answer has a date, and so another header.
const refusedHeader = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// Write writes b. If b is a refusal by net/http, it writes an answer in the usual form
// instead.
func (c *conn) Write(b []byte) (int, error) {
	const status = "HTTP/1.1 "
	line, text, ok := bytes.Cut(b, []byte(refusedHeader))
	if !ok || !bytes.HasPrefix(line, []byte(status)) || bytes.Contains(line, []byte("\r\n")) || len(line) < len(status)+3 {
		return c.Conn.Write(b)
	}
	code, err := strconv.Atoi(string(line[len(status) : len(status)+3]))
	if err != nil {
		return c.Conn.Write(b)
	}
	if _, err := c.Conn.Write(rawError(code, string(text), "")); err != nil {
		return 0, err
	}
	return len(b), nil
}

// rawError returns an answer with an error, for a connection that reaches no handler.
func rawError(status int, reason, header string) []byte {
	body := eswire.ErrorBody(&eswire.Error{Status: status, Type: eswire.IllegalArgument, Reason: eswire.Redact(reason)})
	return append([]byte("HTTP/1.1 "+strconv.Itoa(status)+" "+http.StatusText(status)+"\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\n"+
		header+"Content-Length: "+strconv.Itoa(len(body))+"\r\nConnection: close\r\n\r\n"), body...)
}
