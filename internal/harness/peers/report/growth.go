package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

func (r *report) measureGrowth() error { r.growth = peers.Grow(5, 1e6); return nil }

func (r *report) writeGrowth(p *page) {
	p.line("\n## Growth\n\n`go run -C internal/harness/peers ./report -print growth`\n")
	p.line("The processor's time of each operation at several sizes, in the best round, and the power of the size with which it grows from the")
	p.line("least to the largest: 1 is in proportion, 0 not at all. If the size is the operation's work, the power should be 1 or less. If the size")
	p.line("is only what lies beside that work, the power should be 0; what is more comes from the processor's caches.\n")
	p.line("![growth](%s/growth.svg)", plots)
	p.table("operation", "size", "times", "power")
	for _, g := range r.growth {
		var times strings.Builder
		for i, n := range g.Sizes {
			if i > 0 {
				times.WriteString(", ")
			}
			fmt.Fprintf(&times, "10^%.0f: %s", math.Log10(float64(n)), duration(g.Times[i]))
		}
		work := "beside it: "
		if g.Work {
			work = "its work: "
		}
		p.line("| %s | %s%s | %s | %.2f |", g.Name, work, g.Of, times.String(), g.Exponent())
	}
}

// duration returns nanoseconds as text, with three digits.
func duration(ns float64) string {
	for _, unit := range []struct {
		name string
		ns   float64
	}{{"s", float64(time.Second)}, {"ms", float64(time.Millisecond)}, {"µs", float64(time.Microsecond)}} {
		if ns >= unit.ns {
			return fmt.Sprintf("%.3g %s", ns/unit.ns, unit.name)
		}
	}
	return fmt.Sprintf("%.3g ns", ns)
}

// plotGrowth draws the time for each piece of work. A line that rises is steeper than
// its work.
func (r *report) plotGrowth() error {
	p := plot.New()
	p.Title.Text = "Time for each piece of work, against the least size"
	p.X.Label.Text, p.Y.Label.Text = "size", "times as long"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.X.Min, p.X.Max = 100, 1e9 // room for the legend
	p.Y.Min, p.Y.Max = 0.01, 20
	p.Legend.Top = true
	for i, g := range r.growth {
		line, points, err := plotter.NewLinePoints(growthLine(g))
		if err != nil {
			return err
		}
		line.Color, points.Color = plotutil.Color(i), plotutil.Color(i)
		points.Shape, line.Dashes = plotutil.Shape(i), plotutil.Dashes(i/7)
		p.Add(line, points)
		p.Legend.Add(g.Name, line, points)
	}
	return save(p, "growth")
}

func growthLine(g peers.Growth) (xys plotter.XYs) {
	for i, each := range g.Each() {
		xys = append(xys, plotter.XY{X: float64(g.Sizes[i]), Y: each})
	}
	return xys
}
