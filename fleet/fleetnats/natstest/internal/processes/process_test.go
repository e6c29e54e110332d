//go:build linux

package processes_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A process is one server or one node. Its methods, except ask, are for one goroutine at
// a time.
type process struct {
	config
	net    network
	binary string // the program; empty: this one
	log    string // the file with its output
	client *http.Client
	cmd    *exec.Cmd // nil: it does not run
	input  io.Closer
	exited chan struct{}
}

func newProcess(dir string, net network, c config) *process {
	c.Socket = filepath.Join(dir, c.Name)
	return &process{config: c, net: net, log: filepath.Join(dir, c.Name+".log"), client: socketClient(c.Socket)}
}

func socketClient(socket string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 100}}
}

// start starts the process, which the kernel kills when this one dies.
func (p *process) start() error {
	text, err := json.Marshal(p.config)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := p.net.within(p.Name, cmp.Or(p.binary, self))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), processEnv+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	p.cmd, p.input, p.exited = cmd, input, exited
	return nil
}

func (p *process) signal(s syscall.Signal) {
	if p.cmd != nil {
		syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// kill ends the process at once, even if it is stopped.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.signal(syscall.SIGKILL)
	<-p.exited
	p.input.Close()
	p.cmd = nil
	p.client.CloseIdleConnections()
}

// terminate makes the process shut down in order, and kills it after a while.
func (p *process) terminate() {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
	}
	p.kill()
}

func (p *process) restart() error {
	if p.cmd != nil {
		return nil
	}
	return p.start()
}

var errGone = errors.New("the process did not answer")

// ask sends a request to the process. The error wraps errGone if it is not known whether
// the request has arrived.
func (p *process) ask(ctx context.Context, method, path string, to any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://process"+path, nil)
	if err != nil {
		return err
	}
	w, err := p.client.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	if w.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", p.Name, path, body)
	}
	return json.Unmarshal(body, to)
}

// query is ask with a limit of one second.
func (p *process) query(path string, to any) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return p.ask(ctx, http.MethodGet, path, to)
}

// showLogs logs the end of each process's output.
func showLogs(t *testing.T, processes []*process) {
	for _, p := range processes {
		text, err := os.ReadFile(p.log)
		if err == nil && len(text) > 0 {
			t.Logf("%s wrote:\n%s", p.Name, text[max(0, len(text)-3000):])
		}
	}
}
