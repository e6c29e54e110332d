package tokenmetrics

import (
	"bytes"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Handler returns a handler that shows the metrics of one or more observers as text, as
// Prometheus scrapes it. Observers of several groups must have been given different
// names by [Observer.Watch].
func Handler(observers ...*Observer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		var page bytes.Buffer
		for _, f := range merged(observers) {
			f.write(&page)
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Write(page.Bytes())
	})
}

// merged returns each metric once, with the points of all observers.
func merged(observers []*Observer) (all []Family) {
	for _, o := range observers {
		families := o.collect().families
		if all == nil {
			all = families
			continue
		}
		for i, f := range families {
			all[i].Points = append(all[i].Points, f.Points...)
		}
	}
	return all
}

func (f Family) write(page *bytes.Buffer) {
	if len(f.Points) == 0 {
		return
	}
	name := f.FullName()
	page.WriteString("# HELP " + name + " " + escapeHelp(f.Help) + "\n# TYPE " + name + " " + f.Kind.String() + "\n")
	for _, p := range f.Points {
		if f.Kind != Histogram {
			line(page, name, p.Labels, number(p.Value))
			continue
		}
		for _, b := range p.Buckets {
			line(page, name+"_bucket", append(slices.Clip(p.Labels), Label{"le", number(b.Bound)}), strconv.FormatUint(b.Count, 10))
		}
		line(page, name+"_sum", p.Labels, number(p.Value))
		line(page, name+"_count", p.Labels, strconv.FormatUint(p.Buckets[len(p.Buckets)-1].Count, 10))
	}
}

func line(page *bytes.Buffer, name string, labels []Label, value string) {
	page.WriteString(name)
	for i, l := range labels {
		page.WriteByte("{,"[min(i, 1)])
		page.WriteString(l.Name + `="` + escapeValue(l.Value) + `"`)
	}
	if len(labels) > 0 {
		page.WriteByte('}')
	}
	page.WriteString(" " + value + "\n")
}

// number writes whole numbers in full, so that a revision can be compared by eye.
func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
}

var (
	helpEscapes  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	valueEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func escapeHelp(text string) string { return helpEscapes.Replace(text) }

// escapeValue also removes what is not UTF-8: with it, the whole page could not be
// scraped.
func escapeValue(text string) string {
	return valueEscapes.Replace(strings.ToValidUTF8(text, "\uFFFD"))
}
