package fleet_test

import (
	"context"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// TestConformance: the promises of every index, for changes that are made at this node,
// and for those at another one.
func TestConformance(t *testing.T) {
	for name, another := range map[string]bool{"own changes": false, "another's changes": true} {
		t.Run(name, func(t *testing.T) {
			tokentest.RunIndex(t, func(t testing.TB) (indexsource.Index, tokentest.Backend) {
				log := fleettest.NewLog()
				conn := log.Connect()
				index, other := serve(t, conn), serve(t, log.Connect())
				log.Settle()
				by := index
				if another {
					by = other
				}
				return index, tokentest.Backend{
					Create: func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
						return by.Create(ctx, id, "operator")
					},
					Delete: by.Delete,
					Replace: func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
						return by.Rotate(ctx, id, 0, "operator")
					},
					Rotate: func(ctx context.Context, id tokencache.TokenID, grace time.Duration) (tokencache.Token, error) {
						return by.Rotate(ctx, id, grace, "operator")
					},
					SetEnabled: by.SetEnabled,
					SetHanging: func(hanging bool) {
						if hanging {
							conn.Cut(true, true)
						} else {
							conn.Heal()
						}
					},
				}
			})
		})
	}
}

// serve returns the index of a node that serves.
func serve(t testing.TB, conn *fleettest.Conn) fleet.Index {
	t.Helper()
	node, err := fleet.NewWith(conn, &recorder{}, fleet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	if err := node.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return node.Index()
}

// TestCreateUntil: a token that is created with an expiry is listed with it on every node.
func TestCreateUntil(t *testing.T) {
	log := fleettest.NewLog()
	index, other := serve(t, log.Connect()), serve(t, log.Connect())
	log.Settle()
	id, until := account.TokenID("t0"), time.Now().Add(time.Hour).Round(0)
	if _, err := index.CreateUntil(t.Context(), id, "operator", until); err != nil {
		t.Fatal(err)
	}
	docs, err := other.List(t.Context(), account)
	if err != nil || len(docs) != 1 || !docs[0].Expires.Equal(until) {
		t.Errorf("got %+v, %v, want one that expires at %v", docs, err, until)
	}
	if _, err := index.Rotate(t.Context(), id, -time.Second, "operator"); err == nil {
		t.Error("rotated with a negative grace")
	}
}
