package server

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/internal/eswire"
)

// healthParams are the parameters that clients of the cluster's health send. Most of
// those that ask to wait have no effect here.
var healthParams = []string{
	"expand_wildcards", "level", "local", "master_timeout", "timeout", "wait_for_active_shards", "wait_for_events", "wait_for_nodes",
	"wait_for_no_initializing_shards", "wait_for_no_relocating_shards", "wait_for_status",
}

// healths are the values of the status, from bad to good.
var healths = []string{"red", "yellow", "green"}

// checkHealth checks the parameters that have an effect here.
func checkHealth(_ http.ResponseWriter, r *http.Request) *eswire.Error {
	query := r.URL.Query()
	if want := query.Get("wait_for_status"); want != "" && !slices.Contains(healths, want) {
		return eswire.Illegal("unknown cluster health status " + eswire.Bracket(want))
	}
	if text := query.Get("timeout"); text != "" {
		if _, err := time.ParseDuration(text); err != nil {
			return eswire.Illegal("failed to parse setting [timeout] with value " + eswire.Bracket(text) + " as a time value")
		}
	}
	return nil
}

// clusterHealth answers the first question of many clients and health checks. If they ask
// for it, it waits until the status is as good as they want.
func (s *server) clusterHealth(w http.ResponseWriter, r *http.Request, _ caller) {
	query := r.URL.Query()
	timeout, err := time.ParseDuration(query.Get("timeout"))
	if err != nil {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	status, inTime := s.awaitHealth(ctx, query.Get("wait_for_status"))
	code := http.StatusOK
	if !inTime {
		code = http.StatusRequestTimeout
	}
	nodes := 1
	if view := s.fleetView(); view != nil {
		nodes = max(1, len(view.Members))
	}
	eswire.Reply(w, r, code, object{
		"cluster_name": clusterName, "status": status, "timed_out": !inTime, "number_of_nodes": nodes, "number_of_data_nodes": nodes,
		"active_primary_shards": 0, "active_shards": 0, "relocating_shards": 0, "initializing_shards": 0, "unassigned_shards": 0,
		"unassigned_primary_shards": 0, "delayed_unassigned_shards": 0, "number_of_pending_tasks": 0, "number_of_in_flight_fetch": 0,
		"task_max_waiting_in_queue_millis": 0, "active_shards_percent_as_number": 100.0,
	})
}

// awaitHealth returns the status as soon as it is as good as that, or when the context
// ends, and reports whether it is.
func (s *server) awaitHealth(ctx context.Context, want string) (status string, ok bool) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		status = s.status(ctx)
		if slices.Index(healths, status) >= slices.Index(healths, want) {
			return status, true
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return status, false
		}
	}
}

// status returns the health of the index: red if it cannot be asked, or if the node has
// no lease.
func (s *server) status(ctx context.Context) string {
	view := s.fleetView()
	switch state := s.indexState(); {
	case view != nil && !view.Answers(), s.index.Describe(ctx).Err != nil:
		return "red"
	case state.Health == indexsource.HealthYellow:
		return "yellow"
	case state.Health == indexsource.HealthGreen:
		return "green"
	}
	return "red"
}
