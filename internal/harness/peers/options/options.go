// Package options has groups of one cache, each with one option that is not at its
// default, to measure what the option costs a hit.
package options

import (
	"context"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// Account is the one that every group here knows.
var Account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// An Option is a configuration of a group and its cache.
type Option struct {
	Name  string
	Group tokencache.GroupConfig
	Cache tokencache.Config
	Lease bool // the group answers while it has a lease, as a node of a fleet does
}

// None is the zero value of each Config, with which the others are compared.
const None = "none"

// All are the options that could cost a hit anything, one at a time, and all at once.
// Those of lengths and of sizes are not among them.
var All = []Option{
	{Name: None},
	{Name: "AbsentTTL, off", Cache: tokencache.Config{AbsentTTL: -1}},
	{Name: "Jitter, off", Cache: tokencache.Config{Jitter: -1}},
	{Name: "MaxLoads", Cache: tokencache.Config{MaxLoads: 8}},
	{Name: "MaxBackoff, off", Cache: tokencache.Config{MaxBackoff: -1}},
	{Name: "ServeStale", Cache: tokencache.Config{ServeStale: time.Hour}},
	{Name: "HideNames", Cache: tokencache.Config{HideNames: true}},
	{Name: "MaxHashing, MaxWait, MaxQueue", Group: tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Second, MaxQueue: 8}},
	{Name: "Observer", Group: tokencache.GroupConfig{Observer: observe}},
	{Name: "RefreshAhead", Cache: tokencache.Config{RefreshAhead: time.Minute}},
	{Name: "KnownAccount", Group: tokencache.GroupConfig{KnownAccount: known}},
	{Name: "a lease", Lease: true},
	{
		Name:  "all of them",
		Group: tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Second, MaxQueue: 8, Observer: observe, KnownAccount: known},
		Cache: tokencache.Config{AbsentTTL: -1, Jitter: -1, MaxLoads: 8, MaxBackoff: -1, ServeStale: time.Hour, HideNames: true, RefreshAhead: time.Minute},
		Lease: true,
	},
}

func observe(context.Context, tokencache.Event) {}

func known(a tokencache.Account) bool { return a == Account }

// NewGroup returns a group with one cache for the source.
func NewGroup(o Option, src tokencache.Source[struct{}]) (*tokencache.Group, error) {
	g := tokencache.NewGroup(o.Group)
	if o.Lease {
		g.Lease(time.Now().Add(time.Hour))
	}
	_, err := tokencache.New(g, "cache", src, o.Cache)
	return g, err
}
