# What `network_policies` means, stated a second time and in another way: as rules over the data and
# the input of the original's contract, with no thought for speed. The compiled matcher has to agree.
#
# data.network_policies.<key>   name, binaries[], endpoints[]; presets are expanded into rules
# input.exec                    path, ancestors[], and programs[] = {path, sha256, script} of both
# input.network                 host, port, and is_address
# input.request                 method, path, query_params{k: [v]}, graphql, jsonrpc
package casemate.oracle

import rego.v1

# --- Connections

is_glob(text) if regex.match(`[*?\[\]{}\\]`, text)

host_matches(endpoint) if {
	endpoint.host != ""
	not is_glob(endpoint.host)
	endpoint.host == lower(input.network.host)
}

host_matches(endpoint) if {
	is_glob(endpoint.host)
	not input.network.is_address
	glob.match(endpoint.host, ["."], lower(input.network.host))
}

# Without a host, the addresses alone say where to.
host_matches(endpoint) if {
	endpoint.host == ""
	count(endpoint.allowed_ips) > 0
}

# The address of a name is not known yet.
address_matches(_) if not input.network.is_address

address_matches(endpoint) if count(endpoint.allowed_ips) == 0

address_matches(endpoint) if {
	input.network.is_address
	some net in endpoint.allowed_ips
	net.cidr_contains(net, input.network.host)
}

# Only a `*` makes a path a pattern.
program_path_matches(pattern, path) if {
	indexof(pattern, "*") == -1
	pattern == path
}

program_path_matches(pattern, path) if {
	indexof(pattern, "*") != -1
	glob.match(pattern, ["/"], path)
}

digest_matches(binary, _) if count(binary.sha256) == 0

digest_matches(binary, program) if program.sha256 in binary.sha256

script_matches(binary, _) if binary.script == ""

script_matches(binary, program) if {
	binary.script != ""
	program.script != null
	program_path_matches(binary.script, program.script)
}

listed contains key if {
	some key, policy in data.network_policies
	some binary in policy.binaries
	some program in input.exec.programs
	program_path_matches(binary.path, program.path)
	digest_matches(binary, program)
	script_matches(binary, program)
}

there contains [key, index] if {
	some key, policy in data.network_policies
	some index, endpoint in policy.endpoints
	input.network.port in endpoint.ports
	host_matches(endpoint)
}

open contains [key, index] if {
	some key, index
	there[[key, index]]
	key in listed
	address_matches(data.network_policies[key].endpoints[index])
}

missed contains data.network_policies[key].name if {
	some key, index
	there[[key, index]]
	address_matches(data.network_policies[key].endpoints[index])
}

connection := {"action": "allow", "entry": min([data.network_policies[key].name | some [key, _] in open])} if {
	count(open) > 0
} else := {"action": "deny", "reason": "none"} if {
	count(data.network_policies) == 0
} else := {"action": "deny", "reason": "endpoint"} if {
	count(missed) == 0
} else := {"action": "deny", "reason": "binary", "missed": missed}

# --- Requests: who judges

endpoint_at(at) := data.network_policies[at[0]].endpoints[at[1]]

judges contains at if {
	some at in open
	endpoint_at(at).protocol in {"rest", "websocket", "graphql", "json-rpc", "mcp"}
}

# The `path` of an endpoint: `*` crosses `/`, and `/x/**` is also about `/x`.
selects(pattern, _) if pattern == ""

selects(pattern, path) if {
	pattern != ""
	regex.match(selector_regex(pattern), path)
}

selects(pattern, path) if {
	endswith(pattern, "/**")
	regex.match(selector_regex(trim_suffix(pattern, "/**")), path)
}

selector_regex(pattern) := sprintf("^%s$", [replace(replace(replace(pattern, "**", "*"), ".", "[.]"), "*", ".*")])

# Its rules allow only what the pattern means among rules.
selects_to_allow(pattern, _) if pattern == ""

selects_to_allow(pattern, path) if {
	pattern != ""
	glob.match(pattern, ["/"], path)
}

specificity(at) := count(replace(endpoint_at(at).path, "*", ""))

about contains at if {
	some at in judges
	selects(endpoint_at(at).path, input.request.path)
}

highest := max([specificity(at) | some at in about])

lead := min([at | some at in about; specificity(at) == highest])

protocol := endpoint_at(lead).protocol

spoken contains at if {
	some at in about
	endpoint_at(at).protocol == protocol
}

default enforced := false

enforced if {
	some at in about
	specificity(at) == highest
	endpoint_at(at).enforcement == "enforce"
}

# --- Requests: what a rule is met by

matches_any(patterns, text) if {
	some pattern in patterns
	glob.match(pattern, [], text)
}

method_is(_, "*") := true

method_is(method, wanted) if upper(method) == upper(wanted)

method_is(method, wanted) if {
	upper(wanted) == "GET"
	upper(method) == "HEAD"
}

query_values(key) := object.get(input.request.query_params, key, [])

allows_query(rule) if {
	every key, patterns in object.get(rule, "query", {}) {
		count(query_values(key)) > 0
		every value in query_values(key) {
			matches_any(patterns, value)
		}
	}
}

denies_query(rule) if {
	every key, patterns in object.get(rule, "query", {}) {
		some value in query_values(key)
		matches_any(patterns, value)
	}
}

allows_http(rule) if {
	method_is(input.request.method, rule.method)
	glob.match(rule.path, ["/"], input.request.path)
	allows_query(rule)
}

denies_http(rule) if {
	method_is(input.request.method, object.get(rule, "method", "*"))
	glob.match(object.get(rule, "path", "**"), ["/"], input.request.path)
	denies_query(rule)
}

is_graphql(rule) if object.get(rule, "operation_type", null) != null

is_graphql(rule) if object.get(rule, "operation_name", null) != null

is_graphql(rule) if count(object.get(rule, "fields", [])) > 0

type_is(_, "*") := true

type_is(type, wanted) if type == wanted

# A stored query is what is registered; named in two ways, it has to be one query.
names(operation) := [name |
	some key in ["persisted_query_hash", "persisted_query_id"]
	name := object.get(operation, key, "")
	name != ""
]

registered(endpoint, operation) := found if {
	endpoint.persisted_queries == "allow_registered"
	keys := names(operation)
	count(keys) > 0
	found := endpoint.graphql_persisted_queries[keys[0]]
	every key in keys {
		endpoint.graphql_persisted_queries[key] == found
	}
}

meaning(_, operation) := operation if not operation.persisted_query

meaning(endpoint, operation) := registered(endpoint, operation) if operation.persisted_query

allows_fields(rule, _) if count(object.get(rule, "fields", [])) == 0

allows_fields(rule, fields) if {
	count(fields) > 0
	every field in fields {
		matches_any(rule.fields, field)
	}
}

denies_fields(rule, _) if count(object.get(rule, "fields", [])) == 0

denies_fields(rule, fields) if {
	some field in fields
	matches_any(rule.fields, field)
}

allows_operation(endpoint, operation) if {
	meant := meaning(endpoint, operation)
	some entry in endpoint.rules
	rule := entry.allow
	type_is(meant.operation_type, rule.operation_type)
	glob.match(object.get(rule, "operation_name", "**"), [], meant.operation_name)
	allows_fields(rule, meant.fields)
}

denies_operation(endpoint, rule, operation) if {
	meant := meaning(endpoint, operation)
	type_is(meant.operation_type, object.get(rule, "operation_type", "*"))
	glob.match(object.get(rule, "operation_name", "**"), [], meant.operation_name)
	denies_fields(rule, meant.fields)
}

rpc := object.get(input.request, "jsonrpc", null)

graphql := object.get(input.request, "graphql", null)

rpc_method_is(_, wanted, _) if wanted == "*"

rpc_method_is(method, wanted, "json-rpc") if method == wanted

rpc_method_is(method, wanted, "mcp") if glob.match(wanted, [], method)

params_match(rule) if {
	every key, patterns in object.get(rule, "params", {}) {
		matches_any(patterns, rpc.params[key])
	}
}

# --- Requests: what an endpoint says of it

speaks_graphql(endpoint) if {
	endpoint.protocol == "websocket"
	some entry in endpoint.rules
	is_graphql(entry.allow)
}

speaks_graphql(endpoint) if {
	endpoint.protocol == "websocket"
	some rule in endpoint.deny_rules
	is_graphql(rule)
}

allows_graphql(endpoint) if {
	count(graphql.operations) > 0
	every operation in graphql.operations {
		allows_operation(endpoint, operation)
	}
}

allows_by_http(endpoint) if {
	some entry in endpoint.rules
	allows_http(entry.allow)
}

allows_rpc(endpoint) if {
	rpc.method != ""
	some entry in endpoint.rules
	rpc_method_is(rpc.method, entry.allow.method, endpoint.protocol)
	params_match(entry.allow)
}

endpoint_allows(endpoint) if {
	endpoint.protocol == "rest"
	allows_by_http(endpoint)
}

endpoint_allows(endpoint) if {
	endpoint.protocol == "websocket"
	not speaks_graphql(endpoint)
	allows_by_http(endpoint)
}

endpoint_allows(endpoint) if {
	speaks_graphql(endpoint)
	graphql == null
	upper(input.request.method) == "GET"
}

endpoint_allows(endpoint) if {
	speaks_graphql(endpoint)
	allows_by_http(endpoint)
}

endpoint_allows(endpoint) if {
	speaks_graphql(endpoint)
	allows_graphql(endpoint)
}

endpoint_allows(endpoint) if {
	endpoint.protocol == "graphql"
	allows_graphql(endpoint)
}

endpoint_allows(endpoint) if {
	endpoint.protocol == "json-rpc"
	allows_rpc(endpoint)
}

endpoint_allows(endpoint) if {
	endpoint.protocol == "mcp"
	rpc.receive_stream
}

endpoint_allows(endpoint) if {
	endpoint.protocol == "mcp"
	rpc.has_response
	rpc.method == ""
}

endpoint_allows(endpoint) if {
	endpoint.protocol == "mcp"
	not odd_tool_name(endpoint)
	allows_rpc(endpoint)
}

endpoint_allows(endpoint) if {
	endpoint.protocol == "mcp"
	not odd_tool_name(endpoint)
	endpoint.mcp_allow_all_known_mcp_methods
	count(endpoint.rules) == 0
	rpc.method != ""
}

odd_tool_name(endpoint) if {
	endpoint.mcp_strict_tool_names
	rpc.tool != null
	not regex.match(`^[A-Za-z0-9_.\-]{1,128}$`, rpc.tool)
}

rule_denies(endpoint, rule) if {
	endpoint.protocol in {"rest", "websocket"}
	not is_graphql_message_rule(endpoint, rule)
	denies_http(rule)
}

rule_denies(endpoint, rule) if {
	is_graphql_message_rule(endpoint, rule)
	some operation in graphql.operations
	denies_operation(endpoint, rule, operation)
}

rule_denies(endpoint, rule) if {
	endpoint.protocol == "graphql"
	some operation in graphql.operations
	denies_operation(endpoint, rule, operation)
}

rule_denies(endpoint, rule) if {
	endpoint.protocol in {"json-rpc", "mcp"}
	rpc != null
	rpc_method_is(rpc.method, object.get(rule, "method", "*"), endpoint.protocol)
	params_match(rule)
}

is_graphql_message_rule(endpoint, rule) if {
	endpoint.protocol == "websocket"
	is_graphql(rule)
}

denying contains at if {
	some at in about
	endpoint := endpoint_at(at)
	some rule in endpoint.deny_rules
	rule_denies(endpoint, rule)
}

allowing contains at if {
	some at in spoken
	endpoint := endpoint_at(at)
	selects_to_allow(endpoint.path, input.request.path)
	endpoint_allows(endpoint)
}

# --- Requests: the verdict

reads_graphql(endpoint) if endpoint.protocol == "graphql"

reads_graphql(endpoint) if {
	speaks_graphql(endpoint)
	graphql != null
}

stored_and_unknown if {
	some operation in graphql.operations
	operation.persisted_query
	every at in spoken {
		not knows(endpoint_at(at), operation)
	}
}

knows(endpoint, operation) if registered(endpoint, operation)

verdict := {"action": "allow"} if {
	count(judges) == 0
} else := {"action": "deny", "reason": "not permitted", "enforced": true} if {
	count(about) == 0
} else := {"action": "deny", "reason": "graphql rejected", "enforced": true} if {
	graphql.error != null
} else := {"action": "deny", "reason": "rpc rejected", "enforced": true} if {
	rpc.error != null
} else := {"action": "deny", "reason": "rpc response", "enforced": true} if {
	rpc.has_response
	protocol == "json-rpc"
} else := {"action": "deny", "reason": "graphql blocked", "enforced": enforced} if {
	reads_graphql(endpoint_at(min(denying)))
} else := {"action": "deny", "reason": "blocked", "enforced": enforced} if {
	count(denying) > 0
} else := {"action": "allow"} if {
	count(allowing) > 0
} else := {"action": "deny", "reason": "not permitted", "enforced": enforced} if {
	not reads_graphql(endpoint_at(lead))
} else := {"action": "deny", "reason": "graphql unregistered", "enforced": enforced} if {
	stored_and_unknown
} else := {"action": "deny", "reason": "graphql not permitted", "enforced": enforced}
