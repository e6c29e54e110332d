package server

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"github.com/svctoken/svctoken/tokencache"
)

// A figures is one counter of all caches: a row of the page's table.
type figures struct {
	Label  string // the name in tokencache.Stats, for a field of that
	Note   string
	Values []string
	Bad    bool // whether any of them needs attention
}

// notes say what the counters of tokencache.Stats and GroupStats count.
var notes = map[string]string{
	"Entries":          "verdicts remembered now",
	"Loading":          "loads that read now",
	"Hits":             "confirmed from memory",
	"Mismatches":       "refused from memory",
	"Misses":           "waited for a load",
	"Loads":            "reads of the source",
	"Refusals":         "loads that confirmed nobody",
	"Errors":           "loads that failed",
	"Discarded":        "loads overtaken by an eviction, or overdue",
	"Stored":           "verdicts",
	"Evicted":          "entries that were told to go",
	"Expired":          "entries past their time",
	"Displaced":        "entries that made room",
	"Absent":           "refused by a remembered refusal",
	"Stale":            "confirmed during an outage",
	"Refreshed":        "of these, ahead of an expiry",
	"Confirmed":        "200",
	"Refused":          "401",
	"NotServiceTokens": "no service token, or none at all",
	"Overloaded":       "503, too many loads",
	"NoAnswer":         "503, the source did not answer",
	"GaveUp":           "the caller hung up",
	"Lapsed":           "503, the node may have missed an eviction",
	"Closed":           "503, at the end",
	"Hashing":          "password hashes now",
	"Abandoned":        "loads that run on after their time",
	"Waiting":          "loads that wait for their turn",
}

// labels are the operators' words for counters with other names in the library.
var labels = map[string]string{
	"NotServiceTokens": "Other credentials", "NoAnswer": "No answer", "GaveUp": "Gave up", "Abandoned": "Left running", "Absent": "Known absent", "Mismatches": "Wrong secrets",
}

// bad are the counters that should stay at zero.
var bad = map[string]bool{"Errors": true, "Abandoned": true, "Overloaded": true, "NoAnswer": true}

// newFigures returns the table's rows; asked says how many entries of each cache
// went because somebody asked.
func newFigures(names []string, all []tokencache.Stats, asked map[string]int) []figures {
	rows := fieldRows(all)
	for i := len(rows) - 1; i >= 0; i-- {
		switch rows[i].Label {
		case "Hits":
			rows = slices.Insert(rows, i+1, ratios(all))
		case "Evicted":
			rows = slices.Insert(rows, i+1, causes(names, all, asked)...)
		}
	}
	return rows
}

// fieldRows returns a row for each field of the structs, which are of one type.
func fieldRows[T any](all []T) []figures {
	var rows []figures
	for _, field := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		row := figures{Label: cmp.Or(labels[field.Name], field.Name), Note: notes[field.Name]}
		for _, stats := range all {
			value := reflect.ValueOf(stats).FieldByIndex(field.Index)
			row.Values = append(row.Values, fmt.Sprint(value))
			row.Bad = row.Bad || bad[field.Name] && !value.IsZero()
		}
		rows = append(rows, row)
	}
	return rows
}

func ratios(all []tokencache.Stats) figures {
	row := figures{Label: "Hit ratio", Note: "of hits and misses"}
	for _, stats := range all {
		text := "–"
		if asked := stats.Hits + stats.Misses; asked > 0 {
			text = fmt.Sprintf("%.1f %%", 100*float64(stats.Hits)/float64(asked))
		}
		row.Values = append(row.Values, text)
	}
	return row
}

// causes returns the rows of evicted entries by cause.
func causes(names []string, all []tokencache.Stats, asked map[string]int) []figures {
	operator, source := figures{Label: "– asked for"}, figures{Label: "– as the source had changed"}
	for i, name := range names {
		operator.Values = append(operator.Values, fmt.Sprint(asked[name]))
		source.Values = append(source.Values, fmt.Sprint(int(all[i].Evicted)-asked[name]))
	}
	return []figures{operator, source}
}
