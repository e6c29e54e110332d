package natstest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// TestPageConfiguration: a NATS server reads the configuration of docs/fleet.md, which makes
// it sync each message, in a cluster of three.
func TestPageConfiguration(t *testing.T) {
	page, err := os.ReadFile("../../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	i := strings.Index(string(page), "server_name: n1\n")
	if i < 0 {
		t.Fatal("docs/fleet.md has no configuration of a server")
	}
	text, _, _ := strings.Cut(string(page[i:]), "```")
	var got server.Options
	if err := got.ProcessConfigString(text); err != nil {
		t.Fatal(err)
	}
	if !got.JetStream || !got.SyncAlways || got.StoreDir == "" || got.Cluster.Name == "" || len(got.Routes) != 3 {
		t.Errorf("the servers of docs/fleet.md: got JetStream %t, SyncAlways %t, StoreDir %q, cluster %q with routes %v",
			got.JetStream, got.SyncAlways, got.StoreDir, got.Cluster.Name, got.Routes)
	}
}
