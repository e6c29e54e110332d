package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/internal/eswire"
	"github.com/svctoken/svctoken/tokencache"
)

// words are the metrics' names of the changes.
var words = map[string]string{"created": "create", "deleted": "delete", "evicted": "evict"}

// changed logs and counts the creation or deletion of a token.
func (s *server) changed(ctx context.Context, user, verb string, id tokencache.TokenID) {
	what := eswire.Redact(id.String()) // an old token's name may be a bearer that somebody has pasted
	s.metrics.ObserveChange(words[verb], nil)
	s.logger.InfoContext(ctx, verb+" a token", "user", user, "token", what)
	s.journal.add(deed{User: user, Verb: verb, What: what})
}

// changeFailed logs and counts a change that somebody has asked for, and that is not
// known to be in force on every node. It may be in force here.
func (s *server) changeFailed(ctx context.Context, user, verb, what string, err error) {
	s.metrics.ObserveChange(words[verb], err)
	message := "a change has failed"
	if _, ok := unconfirmedError(err); ok {
		message = "a change is not confirmed"
	}
	s.logger.WarnContext(ctx, message, "user", user, "change", verb, "what", eswire.Redact(what), "error", eswire.Redact(err.Error()))
}

// evict evicts for the context's user, and records the outcome. Its error is for clients:
// the log has the full one.
func (s *server) evict(ctx context.Context, sel tokencache.Selector) (number int, report evict.Report, err error) {
	user, _ := evict.UserFrom(ctx)
	report, err = s.evictor.EvictSelector(indexsource.WithActor(ctx, user.Name), sel)
	report.Selector = sel // after a failure the evictor may leave it out
	number = s.journal.add(deed{User: user.Name, Verb: "evicted", What: sel.String(), Report: &report})
	s.logEviction(ctx, user.Name, report)
	if err != nil {
		s.changeFailed(ctx, user.Name, "evicted", sel.String(), err)
		if err = plainError(err); errors.Is(err, errUnavailable) {
			err = errHere
		}
		return number, report, err
	}
	s.metrics.ObserveChange(words["evicted"], nil)
	return number, report, nil
}

// logEviction logs an eviction with the user who asked for it. In a storm of them it logs
// one each second.
func (s *server) logEviction(ctx context.Context, user string, report evict.Report) {
	ok, unlogged := s.evictionLines.allow()
	if !ok {
		return
	}
	attrs := []any{"user", user, "selector", report.Selector.String(), "evicted", report.Evicted, "duration", report.Duration}
	if len(report.Nodes) > 0 {
		attrs = append(attrs, "nodes", len(report.Nodes), "unconfirmed", len(unconfirmed(&report)))
	}
	if report.Others != "" {
		attrs = append(attrs, "others", report.Others)
	}
	if unlogged > 0 {
		attrs = append(attrs, "unlogged", unlogged)
	}
	s.logger.InfoContext(ctx, "evicted", attrs...)
}

// An audited is the server's evictor. It records the user who has asked for an eviction.
type audited struct{ s *server }

func (a audited) Evict(ctx context.Context, namespace, service, names string) (evict.Report, error) {
	sel, err := evict.Parse(namespace, service, names)
	if err != nil {
		return evict.Report{}, err
	}
	return a.EvictSelector(ctx, sel)
}

func (a audited) EvictSelector(ctx context.Context, sel tokencache.Selector) (evict.Report, error) {
	_, report, err := a.s.evict(ctx, sel)
	return report, err
}

var errHere = errors.New("the eviction is in force on this server; it is not known whether the others have been told")

var errUnavailable = errors.New("the index cannot be read or changed at present")

// plainError returns the part of an error that clients see. An engine's own words are for
// the log.
func plainError(err error) error {
	if e, ok := unconfirmedError(err); ok {
		return errors.New(strings.TrimSuffix(eswire.Plain(err), ": "+e.Err.Error()))
	}
	if errors.Is(err, fleet.ErrNotServing) {
		return errors.New("this node does not serve at present")
	}
	return errUnavailable
}

// failed answers a request that the index cannot carry out at present.
func failed(w http.ResponseWriter, r *http.Request, err error) {
	eswire.Fail(w, r, &eswire.Error{Status: http.StatusServiceUnavailable, Type: eswire.Unspecified, Reason: plainError(err).Error()})
}
