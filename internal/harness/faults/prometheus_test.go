package faults_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// faster is by how much the rules' times are divided.
const faster = 20

// A watcher is a Prometheus that scrapes the hosts.
type watcher struct{ url string }

var (
	duration = regexp.MustCompile(`(\[|for: )(\d+)([mhd])`)
	seconds  = map[string]int{"m": 60, "h": 3600, "d": 86400}
)

// hurried returns the rules with their times divided.
func hurried(rules string) string {
	rules = strings.Replace(rules, "> 60\n", fmt.Sprintf("> %d\n", 60/faster), 1)
	return duration.ReplaceAllStringFunc(rules, func(text string) string {
		m := duration.FindStringSubmatch(text)
		n, _ := strconv.Atoi(m[2])
		return fmt.Sprintf("%s%ds", m[1], n*seconds[m[3]]/faster)
	})
}

// watch starts Prometheus, or skips the test if there is none.
func watch(t *testing.T, hosts []*host) *watcher {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no prometheus: .ci/setup installs it")
		}
		t.Skip("there is no prometheus")
	}
	rules, err := os.ReadFile("../../../adapters/tokenprom/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var config strings.Builder
	config.WriteString("global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\nrule_files: [alerts.yml]\nscrape_configs:\n- job_name: svctoken\n  static_configs:\n")
	for _, h := range hosts {
		fmt.Fprintf(&config, "  - {targets: [%q], labels: {instance: %q}}\n", h.address, h.name)
	}
	for name, text := range map[string]string{"prometheus.yml": config.String(), "alerts.yml": hurried(string(rules))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	cmd := exec.Command(program, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	w := &watcher{"http://" + address}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if response, err := http.Get(w.url + "/-/ready"); err == nil {
			response.Body.Close()
			if response.StatusCode == 200 {
				return w
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("prometheus does not get ready")
		}
	}
}

// get reads the data of an answer of Prometheus' API.
func (w *watcher) get(t *testing.T, path string, data any) {
	t.Helper()
	response, err := http.Get(w.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v %s", path, err, answer.Error)
	}
}

// firing returns the alerts that fire now, by host.
func (w *watcher) firing(t *testing.T) map[string][]string {
	t.Helper()
	var data struct {
		Alerts []struct {
			State  string
			Labels map[string]string
		}
	}
	w.get(t, "/api/v1/alerts", &data)
	found := make(map[string][]string)
	for _, a := range data.Alerts {
		if a.State == "firing" {
			found[a.Labels["instance"]] = append(found[a.Labels["instance"]], a.Labels["alertname"])
		}
	}
	return found
}

// shows reports whether an expression has been true since.
func (w *watcher) shows(t *testing.T, since time.Time, expr string) bool {
	t.Helper()
	var data struct{ Result []any }
	now := time.Now()
	query := url.Values{"query": {expr}, "start": {fmt.Sprint(since.Unix())}, "end": {fmt.Sprint(now.Unix())}, "step": {"1"}}
	w.get(t, "/api/v1/query_range?"+query.Encode(), &data)
	return len(data.Result) > 0
}

// scraped reports whether this many hosts have been scraped.
func (w *watcher) scraped(t *testing.T, hosts int) bool {
	t.Helper()
	var data struct{ Result []any }
	w.get(t, "/api/v1/query?"+url.Values{"query": {"up == 1"}}.Encode(), &data)
	return len(data.Result) == hosts
}
