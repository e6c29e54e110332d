package natstest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetnats"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// permissions are those of the table in docs/fleet-operations.md.
func permissions(publish string, subscribe ...string) *server.Permissions {
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: strings.Fields(publish)},
		Subscribe: &server.SubjectPermission{Allow: subscribe},
	}
}

// TestPermissions: with what docs/fleet-operations.md names, each user can do its work.
func TestPermissions(t *testing.T) {
	const api = ` _FLEET.test.> $JS.API.STREAM.INFO.KV_test $JS.API.STREAM.MSG.GET.KV_test $JS.API.DIRECT.GET.KV_test
		$JS.API.CONSUMER.CREATE.KV_test.> $JS.API.CONSUMER.MSG.NEXT.KV_test.> $JS.API.CONSUMER.DELETE.KV_test.>`
	s := serve(t, &server.Options{
		JetStream: true, StoreDir: t.TempDir(),
		Users: []*server.User{
			{Username: "operator", Permissions: permissions("$JS.API.STREAM.CREATE.KV_test $JS.API.STREAM.INFO.KV_test", "_INBOX.>")},
			{Username: "writing", Permissions: permissions("$KV.test.>"+api, "_INBOX.>", "_FLEET.test.>")},
			{Username: "node", Permissions: permissions("$KV.test.node.> $KV.test.evict.> $KV.test.meta $KV.test.settled"+api, "_INBOX.>", "_FLEET.test.>")},
			{Username: "evicting", Permissions: permissions("$KV.test.evict.>", "_INBOX.>")},
		},
	})
	open := func(user string, existing bool) (*nats.Conn, *fleetnats.Log) {
		t.Helper()
		nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, ""), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { t.Errorf("%s: %v", user, err) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		if user == "evicting" {
			return nc, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		e, err := fleetnats.Open(ctx, nc, fleetnats.Config{Bucket: "test", Replicas: 1, Existing: existing})
		if err != nil {
			t.Fatalf("%s: %v", user, err)
		}
		return nc, e
	}
	open("operator", false)
	var nodes []*fleet.Node
	for _, user := range []string{"writing", "node"} {
		_, e := open(user, true)
		n, err := fleet.New(e, tokencache.NewGroup(tokencache.GroupConfig{}), fleet.Config{Lease: 2 * time.Second, Name: user})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Close)
		if err := n.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("t")
	doc := indexsource.Document{Token: id, Enabled: true, Hash: tokenhash.New(tokencache.GenerateSecret())}
	if err := nodes[0].Index().Put(t.Context(), doc); err != nil {
		t.Error(err)
	}
	if _, ok, err := nodes[1].Index().Get(t.Context(), id); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	for _, n := range nodes {
		if report, err := n.Evict(t.Context(), "elastic", "fleet-server", "t"); err != nil || len(report.Nodes) != 1 {
			t.Errorf("got %+v, %v", report, err)
		}
	}
	nc, _ := open("evicting", true)
	if _, err := nc.Request("$KV.test.evict.x", []byte("{}"), 5*time.Second); err != nil {
		t.Error(err)
	}
}
