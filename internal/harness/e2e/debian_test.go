package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDebianClients goes through a token's life with the official clients that Debian
// packages, which are years old.
func TestDebianClients(t *testing.T) {
	for _, client := range []struct{ name, library, program, script string }{
		{"elasticsearch-py", "/usr/lib/python3/dist-packages/elasticsearch", "/usr/bin/python3", "debian/life.py"},
		{"elasticsearch-ruby", "/usr/share/rubygems-integration/all/specifications/elasticsearch-*.gemspec", "/usr/bin/ruby", "debian/life.rb"},
	} {
		t.Run(client.name, func(t *testing.T) {
			require(t, client.program)
			if found, _ := filepath.Glob(client.library); found == nil {
				if os.Getenv("CI") != "" {
					t.Fatalf("there is no %s", client.library)
				}
				t.Skipf("%s is not installed", client.name)
			}
			s := start(t)
			out, err := exec.CommandContext(t.Context(), client.program, client.script, s.URL).CombinedOutput()
			if err != nil || !strings.HasSuffix(string(out), "done\n") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
