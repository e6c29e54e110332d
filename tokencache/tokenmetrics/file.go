package tokenmetrics

import "github.com/svctoken/svctoken/filesource"

var (
	fileOK       = define("file.ok", "", "Whether the file could be loaded when it was last looked at. A file that is missing could.", Gauge)
	fileMissing  = define("file.missing", "", "Whether there is no file.", Gauge)
	fileTokens   = define("file.tokens", "", "Tokens of the file that can be used.", Gauge)
	fileWarnings = define("file.warnings", "", "Lines of the file that were skipped or overridden.", Gauge)
	fileLoaded   = define("file.loaded_timestamp", "seconds", "When the file was last loaded, found missing, or failed to load.", Gauge)
	fileChanged  = define("file.changed_timestamp", "seconds", "When a reload last changed the tokens.", Gauge)
)

// WatchFile shows a file's status, with the name as the label file.
func (o *Observer) WatchFile(name string, file interface{ Status() filesource.Status }) {
	label := Label{"file", name}
	o.watch(func(c *collection) {
		st := file.Status()
		c.add(fileOK, flag(st.Err == nil), label)
		c.add(fileMissing, flag(st.Missing), label)
		c.add(fileTokens, float64(st.Tokens), label)
		c.add(fileWarnings, float64(len(st.Warnings)+st.MoreWarnings), label)
		if !st.Time.IsZero() {
			c.add(fileLoaded, timestamp(st.Time), label)
		}
		if !st.Changed.IsZero() {
			c.add(fileChanged, timestamp(st.Changed), label)
		}
	})
}
