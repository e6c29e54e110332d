package tokenprom_test

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
)

// TestAlerts checks the rules with Prometheus' own tool, with series that should set them
// off and series that should not.
func TestAlerts(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no promtool: .ci/setup installs it")
		}
		t.Skip("there is no promtool")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "testdata/alerts_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestKnownMetrics: the rules and the dashboard use only metrics that exist.
func TestKnownMetrics(t *testing.T) {
	known := make(map[string]bool)
	for f := range tokenmetrics.New(tokenmetrics.Config{}).All() {
		known[f.FullName()] = true
		if f.Kind == tokenmetrics.Histogram {
			known[f.FullName()+"_bucket"] = true
		}
	}
	for _, path := range []string{"alerts.yml", "dashboard.json"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`svctoken_[a-z_]+`).FindAllString(string(text), -1)
		for _, name := range names {
			if !known[name] && name != "svctoken_" {
				t.Errorf("%s asks for %s", path, name)
			}
		}
		if len(names) < 10 {
			t.Errorf("%s asks for %d metrics", path, len(names))
		}
	}
}
