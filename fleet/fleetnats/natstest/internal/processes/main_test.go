//go:build linux

package processes_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/svctoken/svctoken/tokencache"
)

// processEnv has the configuration of a process of the fleet. All processes run the
// test's own binary.
const processEnv = "SVCTOKEN_FLEET_PROCESS"

// A config is the configuration of a process.
type config struct {
	Name   string
	Socket string // on which it is asked, over HTTP, whatever happens to its network
	Server *serverConfig
	Node   *nodeConfig
}

type serverConfig struct {
	Host    string
	Routes  []string // to the others
	Dir     string
	Servers int
}

type nodeConfig struct {
	Servers    []string // addresses, the nearest first
	Lease      time.Duration
	Secret     string
	Generation string // the file of a source, see judge
}

const (
	clientPort = 4222
	routePort  = 6222
)

var account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

const bucket = "fleet"

func TestMain(m *testing.M) {
	if text := os.Getenv(processEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child runs a process of the fleet. It ends with the process that started it, which
// holds the other end of its standard input.
func child(text string) error {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	var c config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	os.Remove(c.Socket) // of the process before, if it was killed
	l, err := net.Listen("unix", c.Socket)
	if err != nil {
		return err
	}
	if c.Server != nil {
		return runServer(c, l)
	}
	return runNode(c, l)
}

// reply answers a question with JSON.
func reply(w http.ResponseWriter, value any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	json.NewEncoder(w).Encode(value)
}

// monotonic reads the clock that all processes of this machine share.
func monotonic() int64 {
	const clockMonotonic = 1
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errors.Join(errors.New("clock_gettime"), errno))
	}
	return ts.Nano()
}
