// Package faults breaks what an auth server depends on, while a real Prometheus watches
// it with the rules of adapters/tokenprom/alerts.yml. Each fault must show in a metric
// and in the log, and must set off the alerts that docs/operations.md names for it, and
// no others. No alert may fire when all is well, or because of requests of strangers.
//
//	go test -C internal/harness ./faults                           // needs Debian's package prometheus
//	go test -C internal/harness ./faults -run TestPage -update     // writes the table of docs/operations.md
//
// The rules' times are divided by twenty, so that all faults are found in a minute.
package faults
