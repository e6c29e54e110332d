package server

import (
	"slices"

	"github.com/svctoken/svctoken/tokencache"
)

// A role is a list of privileges, as the route that lists the accounts shows it. This
// server has no indices and no applications: it decides by the cluster privileges alone.
type role struct {
	Cluster           []string               `json:"cluster"`
	Indices           []indexPrivileges      `json:"indices"`
	Applications      []applicationPrivilege `json:"applications"`
	RunAs             []string               `json:"run_as"`
	Metadata          struct{}               `json:"metadata"`
	TransientMetadata struct {
		Enabled bool `json:"enabled"`
	} `json:"transient_metadata"`
}

type indexPrivileges struct {
	Names           []string `json:"names"`
	Privileges      []string `json:"privileges"`
	AllowRestricted bool     `json:"allow_restricted_indices"`
}

type applicationPrivilege struct {
	Application string   `json:"application"`
	Privileges  []string `json:"privileges"`
	Resources   []string `json:"resources"`
}

// clusterPrivileges are those of the accounts that Elasticsearch knows.
var clusterPrivileges = map[string][]string{
	"elastic/auto-ops":                 {"monitor", "read_ilm", "read_slm"},
	"elastic/enterprise-search-server": {"manage", "manage_security", "read_connector_secrets", "write_connector_secrets"},
	"elastic/fleet-server":             {"monitor", "manage_own_api_key", "read_fleet_secrets", "cluster:admin/xpack/connector/*"},
	"elastic/fleet-server-remote":      {"monitor", "manage_own_api_key"},
	"elastic/kibana": {
		"monitor", "manage_index_templates", "cluster:admin/xpack/monitoring/bulk", "manage_saml", "manage_token", "manage_oidc",
		"manage_enrich", "manage_pipeline", "manage_ilm", "manage_transform", "cluster:admin/xpack/security/api_key/invalidate",
		"grant_api_key", "manage_own_api_key", "cluster:admin/xpack/security/privilege/builtin/get", "delegate_pki",
		"cluster:admin/xpack/security/profile/get", "cluster:admin/xpack/security/profile/activate",
		"cluster:admin/xpack/security/profile/suggest", "cluster:admin/xpack/security/profile/has_privileges",
		"write_fleet_secrets", "manage_ml", "cluster:admin/analyze", "monitor_text_structure", "cancel_task",
	},
}

var (
	writes    = []string{"write", "create_index", "auto_configure"}
	maintains = []string{"read", "write", "monitor", "create_index", "auto_configure", "maintenance"}
	owns      = append(slices.Clip(maintains), "view_index_metadata")
)

// indexPrivilegesOf are those of the accounts whose descriptors are in the public
// reference or source. The route shows none for kibana.
var indexPrivilegesOf = map[string][]indexPrivileges{
	"elastic/auto-ops": {{Names: []string{"*"}, Privileges: []string{"monitor", "view_index_metadata"}, AllowRestricted: true}},
	"elastic/fleet-server": slices.Concat(
		[]indexPrivileges{
			{Names: fleetData, Privileges: writes},
			{Names: []string{"profiling-*"}, Privileges: []string{"read", "write"}},
			{Names: []string{"traces-apm.sampled-*"}, Privileges: []string{"read", "monitor", "maintenance"}},
			{Names: []string{".fleet-secrets*"}, Privileges: []string{"read"}, AllowRestricted: true},
		},
		each(maintains, ".fleet-actions*", ".fleet-agents*", ".fleet-artifacts*", ".fleet-enrollment-api-keys*", ".fleet-policies*",
			".fleet-policies-leader*", ".fleet-servers*", ".fleet-fileds*"),
		[]indexPrivileges{
			{Names: []string{"synthetics-*"}, Privileges: []string{"read", "write", "create_index", "auto_configure"}},
			{Names: []string{".elastic-connectors*"}, Privileges: owns},
			{Names: []string{"content-*", ".search-acl-filter-*"}, Privileges: owns},
			{Names: []string{"agentless-*"}, Privileges: owns},
		}),
	"elastic/fleet-server-remote": {{Names: []string{"logs-*", "metrics-*", "traces-*"}, Privileges: writes}},
}

var fleetData = []string{
	"logs-*", "metrics-*", "traces-*", ".logs-endpoint.diagnostic.collection-*",
	".logs-endpoint.action.responses-*", ".logs-endpoint.heartbeat-*",
}

// each returns the same privileges for restricted indices of several names.
func each(privileges []string, names ...string) []indexPrivileges {
	var all []indexPrivileges
	for _, name := range names {
		all = append(all, indexPrivileges{Names: []string{name}, Privileges: privileges, AllowRestricted: true})
	}
	return all
}

// fleetServer8 are the privileges of fleet-server in versions before 9.
var fleetServer8 = role{
	Cluster: []string{"monitor", "manage_own_api_key", "read_fleet_secrets"},
	Indices: []indexPrivileges{
		{Names: fleetData, Privileges: writes},
		{Names: []string{"profiling-*"}, Privileges: []string{"read", "write", "auto_configure"}},
		{Names: []string{"traces-apm.sampled-*"}, Privileges: []string{"read", "monitor", "maintenance"}},
		{Names: []string{".fleet-secrets*"}, Privileges: []string{"read"}, AllowRestricted: true},
		{Names: []string{".fleet-*"}, Privileges: maintains, AllowRestricted: true},
		{Names: []string{"synthetics-*"}, Privileges: []string{"read", "write", "create_index", "auto_configure"}},
	},
}

var applicationsOf = map[string][]applicationPrivilege{
	"elastic/fleet-server": {{Application: "kibana-*", Privileges: []string{"reserved_fleet-setup"}, Resources: []string{"*"}}},
}

// roleOf returns the role of an account in the version of Elasticsearch that the server
// claims to be. An account that Elasticsearch does not know may monitor.
func (s *server) roleOf(account tokencache.Account) role {
	name := account.String()
	r := role{Cluster: clusterPrivileges[name], Indices: indexPrivilegesOf[name]}
	if name == "elastic/fleet-server" && !atLeast(s.version, 9, 0) {
		r = fleetServer8
	}
	r.Applications, r.RunAs = applicationsOf[name], []string{}
	if r.Cluster == nil {
		r.Cluster = []string{"monitor"}
	}
	if r.Indices == nil {
		r.Indices = []indexPrivileges{}
	}
	if r.Applications == nil {
		r.Applications = []applicationPrivilege{}
	}
	r.TransientMetadata.Enabled = true
	return r
}
