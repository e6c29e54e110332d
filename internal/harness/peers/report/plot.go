package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

func (r *report) plot() error {
	for _, draw := range []func() error{r.plotHits, r.plotMemory, r.plotRatios, r.plotGrowth} {
		if err := draw(); err != nil {
			return err
		}
	}
	return nil
}

// save writes a plot as SVG, with fonts of the same widths for readers that lack
// the first.
func save(p *plot.Plot, name string) error {
	canvas, err := p.WriterTo(18*vg.Centimeter, 10*vg.Centimeter, "svg")
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	svg := strings.ReplaceAll(b.String(), "font-family:Liberation Serif", "font-family:Liberation Serif,Times New Roman,Times,serif")
	return os.WriteFile(filepath.Join(docs, plots, name+".svg"), []byte(svg), 0o666)
}

// bars draws one bar for each label, across the page.
func bars(title, unit string, labels []string, values []float64, name string) error {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = unit
	p.X.Min, p.X.Max = 0, 1.1*slices.Max(values)
	chart, err := plotter.NewBarChart(plotter.Values(values), 12)
	if err != nil {
		return err
	}
	chart.Horizontal = true
	chart.Color = plotutil.Color(2)
	chart.LineStyle.Width = 0
	p.Add(chart)
	for i, label := range labels { // room for readers whose font is wider
		labels[i] = label + strings.Repeat(" ", len(label)/3)
	}
	p.NominalY(labels...)
	return save(p, name)
}

func (r *report) plotHits() error {
	var labels []string
	var values []float64
	for _, name := range r.sorted() {
		labels = append(labels, name)
		values = append(values, r.hits.Times[name].Best())
	}
	return bars("A hit, from header to verdict", "ns", labels, values, "hit")
}

func (r *report) plotMemory() error {
	var labels []string
	var values []float64
	for _, f := range r.memory {
		labels = append(labels, f.Name)
		values = append(values, f.PerToken)
	}
	return bars("Memory for a cached token, of a million", "bytes", labels, values, "memory")
}

func (r *report) plotRatios() error {
	const trace = "Zipf 1.0"
	p := plot.New()
	p.Title.Text = "Hit ratio by capacity, " + trace
	p.X.Label.Text, p.Y.Label.Text = "capacity, % of the keys", "hit ratio"
	p.Y.Min, p.Y.Max = 0, 1
	p.X.Max = 60 // room for the legend
	lines := make(map[string]plotter.XYs)
	for _, h := range r.ratios {
		if h.Trace != trace {
			continue
		}
		for name, y := range map[string]float64{"svctoken": h.Svctoken, "exact LRU": h.LRU, "2Q": h.TwoQueue, "otter": h.Otter} {
			lines[name] = append(lines[name], plotter.XY{X: 100 * h.Capacity, Y: y})
		}
	}
	if err := plotutil.AddLinePoints(p, "svctoken", lines["svctoken"], "exact LRU", lines["exact LRU"], "2Q", lines["2Q"], "otter", lines["otter"]); err != nil {
		return err
	}
	return save(p, "hitratio")
}
