package fleetsql_test

import (
	"fmt"
	"testing"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
)

// TestSights: a follower continues in the log that it has seen, and says why it does not
// continue in another one.
func TestSights(t *testing.T) {
	for _, test := range []struct {
		name         string
		first        bool
		uuid, server string
		rev          fleetlog.Position
		before       string // the id of the append at position 5, now
		want         string
	}{
		{"nothing is new", false, "log", "server", 5, "five", "<nil>"},
		{"more messages", false, "log", "server", 9, "five", "<nil>"},
		{"the first look", true, "log", "server", 5, "", "<nil>"},
		{"the first look, behind", true, "log", "server", 4, "", "fleetsql: follow: the log has gone back from position 5 to 4"},
		{"gone back", false, "log", "server", 4, "five", "fleetsql: follow: the log has gone back from position 5 to 4"},
		{"another log", false, "another", "server", 9, "five", "fleetsql: follow: it is another log"},
		{"restarted", false, "log", "another", 9, "five", "fleetsql: follow: another server answers, or it was restarted, and so the log may be another one"},
		{"gone another way", false, "log", "server", 9, "another", "fleetsql: follow: the log has another message at position 5"},
		{"too far behind to know", false, "log", "server", 9, "", "fleetsql: follow: the log has another message at position 5"},
	} {
		uuid := "log"
		if test.first {
			uuid = ""
		}
		if got := fmt.Sprint(fleetsql.FollowedBy(uuid, "server", 5, "five", test.uuid, test.server, test.rev, test.before)); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

// TestTexts: the texts of a log's errors, which operators search for.
func TestTexts(t *testing.T) {
	for err, want := range map[error]string{
		fleetsql.ErrReplaced:   "another file stands in the place of the log's",
		fleetsql.ErrNotDurable: "the database acknowledges before it has synced to disk",
		fleetsql.ErrFormat:     "the tables are of another version",
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
	if got := fmt.Sprint(fleetsql.SQLite, ", ", fleetsql.PostgreSQL, ", ", fleetsql.Dialect(7)); got != "SQLite, PostgreSQL, dialect 7" {
		t.Error(got)
	}
	for d := range fleetsql.Dialect(4) {
		statements, err := fleetsql.Schema(d)
		if known := d == fleetsql.SQLite || d == fleetsql.PostgreSQL; known != (err == nil) || known != (len(statements) > 5) {
			t.Errorf("%v: got %d statements, %v", d, len(statements), err)
		}
	}
}
