// Command forgetting prints what svctoken and its peers do when a load is in
// flight while its key is evicted, as a table.
//
//	go run -C internal/harness/peers ./forgetting
package main

import (
	"fmt"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

func main() { fmt.Print(peers.Table(peers.Forgetting())) }
