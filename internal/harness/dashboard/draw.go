package dashboard

import (
	"bytes"
	"context"
	"image/color"
	"math"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	columns = 24
	width   = 30 * vg.Centimeter
	row     = .85 * vg.Centimeter
)

// Draw returns the dashboard over a time, as SVG.
func (d Dashboard) Draw(ctx context.Context, store *Store, from, to time.Time) ([]byte, error) {
	rows := 0
	for _, p := range d.Panels {
		rows = max(rows, p.GridPos.Y+p.GridPos.H)
	}
	height := row * vg.Length(rows)
	canvas := vgsvg.New(width, height)
	for _, p := range d.Panels {
		drawn, err := p.plot(ctx, store, from, to)
		if err != nil {
			return nil, err
		}
		at, gap := p.GridPos, .2*vg.Centimeter
		unit := width / columns
		drawn.Draw(draw.Crop(draw.New(canvas), unit*vg.Length(at.X)+gap, unit*vg.Length(at.X+at.W)-width-gap,
			height-row*vg.Length(at.Y+at.H)+gap, -row*vg.Length(at.Y)-gap))
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return nil, err
	}
	return []byte(strings.ReplaceAll(out.String(), "font-family:Liberation Serif", "font-family:Liberation Serif,Times New Roman,Times,serif")), nil
}

func (p Panel) plot(ctx context.Context, store *Store, from, to time.Time) (*plot.Plot, error) {
	out := plot.New()
	out.Title.Text = p.Title
	out.Y.Min = 0
	out.Y.Label.Text = units[p.FieldConfig.Defaults.Unit]
	out.X.Tick.Marker = plot.TickerFunc(minutes)
	out.X.Min, out.X.Max = 0, to.Sub(from).Minutes()
	out.Legend.Top, out.Legend.Left = true, true
	out.Legend.TextStyle.Font.Size, out.Legend.ThumbnailWidth = 8, 10
	out.Add(plotter.NewGrid())
	lines := 0
	for _, target := range p.Targets {
		matrix, err := store.Run(ctx, target.Query(), from, to)
		if err != nil {
			return nil, err
		}
		for _, found := range matrix {
			var points plotter.XYs
			for _, point := range found.Floats {
				if !math.IsNaN(point.F) && !math.IsInf(point.F, 0) {
					points = append(points, plotter.XY{X: time.UnixMilli(point.T).Sub(from).Minutes(), Y: point.F})
				}
			}
			if len(points) == 0 {
				continue
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return nil, err
			}
			line.Color, line.Dashes = plotutil.Color(lines), plotutil.Dashes(lines/len(plotutil.DefaultColors))
			lines++
			out.Add(line)
			out.Legend.Add(target.Legend(found.Metric.Get), line)
		}
	}
	out.Y.Max *= 1 + .12*float64(lines) // room for the legend
	if out.Y.Max == 0 {
		out.Y.Max = 1
	}
	out.BackgroundColor = color.White
	return out, nil
}

// units are Grafana's names of the panels' units.
var units = map[string]string{"reqps": "a second", "ops": "a second", "percentunit": "share", "s": "seconds", "short": ""}

// minutes marks each tenth minute.
func minutes(low, high float64) (ticks []plot.Tick) {
	for at := math.Ceil(low/10) * 10; at <= high; at += 10 {
		ticks = append(ticks, plot.Tick{Value: at, Label: strconv.Itoa(int(at)) + " min"})
	}
	return ticks
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
