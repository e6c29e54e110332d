// Package processes tests a fleet whose parts are processes of their own: three NATS
// servers and three nodes, which are killed, stopped, cut off and run out of disk, while
// one process asks all nodes all the time and knows when each eviction returned. It runs
// on Linux alone.
//
//	go -C fleet/fleetnats/natstest test ./internal/processes -v               # about a minute, the faults chosen by a seed
//	go -C fleet/fleetnats/natstest test ./internal/processes -v -for 2h -later -timeout 3h # one node of each fleet is of a later version
//
// As root, the processes have network namespaces of their own every other time, and one
// server keeps its files on a small file system. Otherwise proxies stand between them.
package processes
