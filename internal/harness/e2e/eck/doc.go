// Package eck tries examples/authserver with the packages of Elastic Cloud on
// Kubernetes (github.com/elastic/cloud-on-k8s): the operator's own code makes a
// service account's token and the service_tokens file, and its client asks the
// server. It is a module of its own, as its dependencies are many: .ci/run -all runs
// it, and
//
//	go -C internal/harness/e2e/eck test .
package eck
