package server

import (
	"cmp"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/svctoken/svctoken/internal/eswire"
)

// info answers the first question of a client, which fails if a field is missing.
func (s *server) info(w http.ResponseWriter, r *http.Request) {
	oldestWire, oldestIndex, lucene := compatibility(s.version)
	hash, date := build()
	eswire.Reply(w, r, http.StatusOK, object{
		"name": s.node.name, "cluster_name": clusterName, "cluster_uuid": s.clusterID(),
		"version": object{
			"number": s.version, "build_flavor": "default", "build_type": "tar", "build_hash": hash, "build_date": date, "build_snapshot": false,
			"lucene_version": lucene, "minimum_wire_compatibility_version": oldestWire, "minimum_index_compatibility_version": oldestIndex,
		},
		"tagline": "You Know, for Search",
	})
}

// build returns the commit of svctoken from which this program was built, and the
// commit's date if that is known, or else the program's.
var build = sync.OnceValues(func() (hash, date string) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				hash = setting.Value
			case "vcs.time":
				date = setting.Value
			}
		}
	}
	if path, err := os.Executable(); err == nil && date == "" {
		if file, err := os.Stat(path); err == nil {
			date = file.ModTime().UTC().Format(time.RFC3339Nano)
		}
	}
	return cmp.Or(hash, strings.Repeat("0", 40)), cmp.Or(date, "1970-01-01T00:00:00Z")
})

// compatibility returns the oldest versions with which a version of Elasticsearch claims
// to be compatible, and its version of Lucene.
func compatibility(version string) (oldestWire, oldestIndex, lucene string) {
	switch {
	case atLeast(version, 9, 3):
		return "8.19.0", "8.0.0", "10.4.0"
	case atLeast(version, 9, 0):
		return "8.19.0", "8.0.0", "10.2.2"
	case atLeast(version, 8, 0):
		return "7.17.0", "7.0.0", "9.12.0"
	default:
		return "6.8.0", "6.0.0-beta1", "8.11.3"
	}
}

// atLeast reports whether the version is that one, or a later one.
func atLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, _ := strconv.Atoi(first)
	b, _ := strconv.Atoi(second)
	return a > major || a == major && b >= minor
}
