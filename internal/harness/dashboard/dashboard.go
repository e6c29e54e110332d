// Package dashboard runs the queries of adapters/tokenprom/dashboard.json on the
// collector's metrics, with the query engine of Prometheus, and draws the results.
// Grafana has no part in it: the layout, titles, queries and legends are those of the
// file, but the panels look as this package draws them.
//
//	go test -C internal/harness/dashboard -update    # writes docs/dashboard.svg
package dashboard

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
)

// A Dashboard is the part of Grafana's file that this package reads.
type Dashboard struct {
	Panels []Panel
}

// A Panel is a rectangle of the dashboard.
type Panel struct {
	Title       string
	Targets     []Target
	GridPos     struct{ X, Y, W, H int } // of 24 columns
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
}

// A Target is a query of a panel, and the legend of the series that it returns.
type Target struct {
	Expr, LegendFormat string
}

// Load reads a dashboard.
func Load(path string) (Dashboard, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return Dashboard{}, err
	}
	var d Dashboard
	return d, json.Unmarshal(content, &d)
}

// Query returns the query as Grafana sends it: with the jobs and instances that are
// chosen, all of them, and four times the interval of the scrapes for a rate.
func (t Target) Query() string {
	return strings.NewReplacer("$job", ".*", "$instance", ".*", "$__rate_interval", (4 * ScrapeEvery).String()).Replace(t.Expr)
}

var placeholder = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

// Labels returns the labels that the legend asks for.
func (t Target) Labels() (names []string) {
	for _, match := range placeholder.FindAllStringSubmatch(t.LegendFormat, -1) {
		names = append(names, match[1])
	}
	return names
}

// Legend returns the name of a series by its labels.
func (t Target) Legend(value func(label string) string) string {
	return placeholder.ReplaceAllStringFunc(t.LegendFormat, func(match string) string {
		return value(placeholder.FindStringSubmatch(match)[1])
	})
}
