package evict

import (
	"fmt"

	"github.com/svctoken/svctoken/internal/eswire"
)

// A clearBody is the answer to a request that has evicted.
type clearBody struct {
	Nodes   nodesBody           `json:"_nodes"`
	Cluster string              `json:"cluster_name"`
	ByID    map[string]nodeName `json:"nodes"`
}

type nodesBody struct {
	Total      int           `json:"total"`
	Successful int           `json:"successful"`
	Failed     int           `json:"failed"`
	Failures   []failureBody `json:"failures,omitempty"`
}

type nodeName struct {
	Name string `json:"name"`
}

type failureBody struct {
	Type     string    `json:"type"`
	Reason   string    `json:"reason"`
	NodeID   string    `json:"node_id"`
	CausedBy causeBody `json:"caused_by"`
}

type causeBody struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

// reason says why the node may not have evicted, and until when it may answer from
// before.
func (n Node) reason() string {
	reason := eswire.Plain(n.Err)
	if !n.UnconfirmedUntil.IsZero() {
		reason += ", until " + n.UnconfirmedUntil.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return reason
}

// body returns the answer for an eviction here, which has succeeded, and on the
// report's other nodes.
func (h *Handler) body(report Report) clearBody {
	body := clearBody{Cluster: h.cfg.ClusterName, ByID: map[string]nodeName{h.cfg.NodeID: {h.cfg.NodeName}}}
	for _, node := range report.Nodes {
		if node.Err == nil {
			body.ByID[node.ID] = nodeName{node.Name}
			continue
		}
		body.Nodes.Failures = append(body.Nodes.Failures, failureBody{
			Type: "failed_node_exception", Reason: fmt.Sprintf("node [%s] failed", node.ID), NodeID: node.ID,
			CausedBy: causeBody{Type: "exception", Reason: node.reason()},
		})
	}
	body.Nodes.Total = 1 + len(report.Nodes)
	body.Nodes.Failed = len(body.Nodes.Failures)
	body.Nodes.Successful = body.Nodes.Total - body.Nodes.Failed
	return body
}
