// Package eswire reads requests and writes answers and errors as Elasticsearch does, for
// the handler of package evict and for examples/authserver.
//
// A route that follows it asks in this order: the method, see [MethodNotAllowed];
// the credentials, see [Unauthorized]; the request itself, see [Check]; the
// privilege, see [Denied]. It answers with [Reply] or [Fail].
package eswire
