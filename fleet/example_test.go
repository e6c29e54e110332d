package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	ctx := context.Background()
	shared := fleettest.NewLog() // a real fleet has a log such as fleet/fleetnats
	start := func(name string) (*tokencache.Group, *fleet.Node) {
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		node, err := fleet.New(shared.Connect(), group, fleet.Config{Name: name})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := tokencache.New(group, "index", indexsource.New(node.Index()), tokencache.Config{}); err != nil {
			log.Fatal(err)
		}
		if err := node.Ready(ctx); err != nil {
			log.Fatal(err)
		}
		return group, node
	}
	here, hereNode := start("here")
	defer here.Close()
	defer hereNode.Close()
	there, thereNode := start("there")
	defer there.Close()
	defer thereNode.Close()

	// In its first lease a log makes every change wait for one; a test skips that.
	shared.Settle()

	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	token, err := hereNode.Index().Create(ctx, id, "operator")
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := there.AuthenticateToken(ctx, token)
	fmt.Println(verdict.Token, err)

	if err := hereNode.Index().Delete(ctx, id); err != nil {
		log.Fatal(err)
	}
	_, err = there.AuthenticateToken(ctx, token)
	fmt.Println(err)
	// Output:
	// elastic/fleet-server/token1 <nil>
	// tokencache: token refused: elastic/fleet-server/token1: unknown_token
}

// ExampleNode_Ask asks all nodes for the tokens of their files.
func ExampleNode_Ask() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	shared := fleettest.NewLog()
	var nodes []*fleet.Node
	for _, name := range []string{"node1", "node2"} {
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		defer group.Close()
		node, err := fleet.New(shared.Connect(), group, fleet.Config{Name: name, Answer: func(question string) string {
			return question + ": token-of-" + name // which the host reads from the node's file
		}})
		if err != nil {
			log.Fatal(err)
		}
		defer node.Close()
		if err := node.Ready(ctx); err != nil {
			log.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	for nodes[0].Status().Members < 2 { // it has not heard of the other one yet
		time.Sleep(time.Millisecond)
	}
	var answers []fleet.Answer = nodes[0].Ask(ctx, "elastic/fleet-server")
	for _, a := range answers {
		fmt.Println(a.Name, a.Text, a.Err)
	}
	// Output:
	// node1 elastic/fleet-server: token-of-node1 <nil>
	// node2 elastic/fleet-server: token-of-node2 <nil>
}

// ExampleIndex_Rotate replaces a secret, and keeps the old one good for another day.
func ExampleIndex_Rotate() {
	ctx := context.Background()
	shared := fleettest.NewLog()
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	node, err := fleet.New(shared.Connect(), group, fleet.Config{Name: "here"})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	if _, err := tokencache.New(group, "index", indexsource.New(node.Index()), tokencache.Config{}); err != nil {
		log.Fatal(err)
	}
	if err := node.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	shared.Settle()
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	before, err := node.Index().Create(ctx, id, "operator")
	if err != nil {
		log.Fatal(err)
	}
	after, err := node.Index().Rotate(ctx, id, 24*time.Hour, "operator")
	if err != nil {
		log.Fatal(err)
	}
	_, err = group.AuthenticateToken(ctx, after)
	fmt.Println(err)
	doc, _, err := node.Index().Get(ctx, id)
	fmt.Println(doc.Previous.Verify(before.Secret()), doc.PreviousExpires.After(time.Now()), err)
	if err := node.Index().SetExpiry(ctx, id, time.Now().Add(-time.Second)); err != nil {
		log.Fatal(err)
	}
	_, err = group.AuthenticateToken(ctx, after)
	fmt.Println(errors.Is(err, tokencache.ErrRefused))
	// Output:
	// <nil>
	// true true <nil>
	// true
}

// ExampleNode_Status shows what an operator wants to know about a node.
func ExampleNode_Status() {
	ctx := context.Background()
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	node, err := fleet.New(fleettest.NewLog().Connect(), group, fleet.Config{Name: "here", Nodes: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	if err := node.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	st := node.Status()
	switch {
	case errors.Is(st.Err, fleet.ErrVersion):
		fmt.Println("upgrade this node")
	case !st.Serving:
		fmt.Println("it does not serve since", st.Since, "as", st.Err)
	case time.Since(st.Renewed) > 2*st.Lease/5:
		fmt.Println("two renewals are late")
	default:
		fmt.Println("it serves, of", st.Members, "nodes;", st.Pending, "changes wait")
	}
	// The others may share another log, as far as this node can tell.
	short, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err = node.Evict(short, "elastic", "fleet-server", "*") // in the first lease of a log it takes one
	fmt.Println(errors.Is(err, fleet.ErrFewNodes))
}

// ExampleIndex_LastUses tells which tokens were used; see indexsource.KeepUses, which
// notes uses once a minute.
func ExampleIndex_LastUses() {
	ctx := context.Background()
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	node, err := fleet.New(fleettest.NewLog().Connect(), group, fleet.Config{Name: "here"})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close()
	if err := node.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	used := map[tokencache.TokenID]time.Time{account.TokenID("token1"): time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}
	if err := node.Index().NoteUses(ctx, used); err != nil {
		log.Fatal(err)
	}
	uses, err := node.Index().LastUses(ctx, account)
	fmt.Println(uses["token1"].UTC().Format(time.DateTime), err)
	// Output:
	// 2026-11-28 12:00:00 <nil>
}

// A host that logs by itself tells apart what an operator must hear of at once; package
// tokenlog does so too.
func ExampleEvent() {
	urgent := func(ev fleet.Event) bool {
		switch ev.Kind {
		case fleet.EventStopped, fleet.EventJoinFailed: // the node answers with errors, and Err says why
			return true
		case fleet.EventReopened: // the node serves; only often is too often
			return false
		}
		return false
	}
	lost := errors.New("no connection to the log")
	for _, ev := range []fleet.Event{
		{Kind: fleet.EventStopped, Err: lost},
		{Kind: fleet.EventJoinFailed, Err: lost},
		{Kind: fleet.EventServing, Duration: 3 * time.Second},
		{Kind: fleet.EventReopened, Err: lost},
	} {
		fmt.Println(ev.Kind, urgent(ev))
	}
	// Output:
	// stopped true
	// join_failed true
	// serving false
	// reopened false
}
