//! The words that policies and questions are made of: few, so that they meet, and chosen to show
//! where separators, `**` and exact text differ.

use casemate_policy::network::Protocol;

pub(crate) const PROTOCOLS: [Protocol; 8] = [
    Protocol::Unspecified,
    Protocol::Any,
    Protocol::Sql,
    Protocol::Rest,
    Protocol::Websocket,
    Protocol::Graphql,
    Protocol::JsonRpc,
    Protocol::Mcp,
];

pub(crate) const HOST_PATTERNS: [&str; 13] = [
    "api.example.com",
    "www.example.com",
    "*.example.com",
    "**.example.com",
    "*-ai.example.com",
    "*.s3.*.amazonaws.com",
    "**.internal",
    "db.internal",
    "{api,www}.example.com",
    "10.0.0.5",
    "*.corp.example.com",
    "[ax]*.example.com",
    "a.**.example.com",
];

pub(crate) const HOSTS: [&str; 19] = [
    "api.example.com",
    "API.Example.com",
    "www.example.com",
    "x-ai.example.com",
    "-ai.example.com",
    "a.b.example.com",
    "a.b.c.example.com",
    "example.com",
    "b.s3.eu-1.amazonaws.com",
    "b.s3.eu.1.amazonaws.com",
    "s3.eu.amazonaws.com",
    "db.internal",
    "a.db.internal",
    "internal",
    "10.0.0.5",
    "10.0.0.6",
    "192.168.1.1",
    "other.org",
    "x.corp.example.com",
];

pub(crate) const PORTS: [u16; 4] = [443, 80, 8443, 5432];

pub(crate) const PROGRAM_PATTERNS: [&str; 15] = [
    "/usr/bin/curl",
    "/usr/bin/git",
    "/usr/bin/python3",
    "/usr/bin/pyth?n3",
    "/usr/bin/*",
    "/usr/**",
    "/**",
    "**",
    "*",
    "**/node",
    "/opt/*/bin/*",
    "/opt/tool*/x",
    "/usr/bin/pyth?n*",
    "/usr/bin/{curl,git}*",
    "/usr/*/[!g]*",
];

pub(crate) const PROGRAMS: [&str; 11] = [
    "/usr/bin/curl",
    "/usr/bin/git",
    "/usr/bin/git-lfs",
    "/usr/bin/python3",
    "/usr/bin/pyth?n3",
    "/usr/local/bin/deep/x",
    "/opt/tool/bin/node",
    "/opt/tool1/x",
    "/home/u/run",
    "node",
    "/usr",
];

pub(crate) const SCRIPT_PATTERNS: [&str; 4] =
    ["/app/main.py", "/app/*.py", "/app/**", "/app/ma?n.py"];
pub(crate) const SCRIPTS: [&str; 3] = ["/app/main.py", "/app/lib/x.py", "/srv/main.py"];
pub(crate) const DIGESTS: [[u8; 32]; 3] = [[1; 32], [2; 32], [0xfe; 32]];

pub(crate) const METHODS: [&str; 9] = [
    "GET",
    "get",
    "HEAD",
    "OPTIONS",
    "POST",
    "PUT",
    "DELETE",
    "BREW",
    "WEBSOCKET_TEXT",
];

pub(crate) const SELECTORS: [&str; 8] = [
    "/repos/**",
    "/repos/*",
    "/graphql",
    "/ws/**",
    "/**",
    "**",
    "/mcp",
    "/repos/*/issues",
];

pub(crate) const PATH_PATTERNS: [&str; 12] = [
    "**",
    "/**",
    "/*",
    "/repos/*",
    "/repos/**",
    "/repos/*/issues",
    "/x**",
    "/a.b/*",
    "/**/info/refs*",
    "/repos/{a,b}/*",
    "/graphql",
    "/ws/?",
];

pub(crate) const PATHS: [&str; 13] = [
    "/repos",
    "/repos/",
    "/repos/a",
    "/repos/a/b",
    "/repos/a/issues",
    "/xyz",
    "/x/y",
    "/a.b/c",
    "/r/info/refs",
    "/",
    "/graphql",
    "/mcp",
    "/ws/x",
];

pub(crate) const KEYS: [&str; 3] = ["service", "ref", "v"];
pub(crate) const VALUE_PATTERNS: [&str; 8] = [
    "git-*",
    "*",
    "**",
    "v1.*",
    "main",
    "foo-*",
    "a/*",
    "{main,v1.2}",
];
pub(crate) const VALUES: [&str; 9] = [
    "git-upload-pack",
    "a.b",
    "v1.2",
    "v1.2.3",
    "main",
    "foo-a.b",
    "foo-a",
    "",
    "a/b",
];

pub(crate) const OPERATION_PATTERNS: [&str; 5] = ["Get*", "Get.User", "**", "*", "GetUser"];
pub(crate) const OPERATIONS: [&str; 5] = ["GetUser", "", "Get.User", "Get.All", "Drop"];
pub(crate) const FIELD_PATTERNS: [&str; 6] = ["viewer", "repo*", "*", "**", "delete*", "a.*"];
pub(crate) const FIELDS: [&str; 4] = ["viewer", "repository", "deleteRepo", "a.b"];
pub(crate) const STORED: [&str; 4] = ["q1", "q2", "h1", "h9"];

pub(crate) const RPC_PATTERNS: [&str; 7] = [
    "tools/call",
    "tools/list",
    "initialize",
    "a.b",
    "*",
    "tools/*",
    "eth_*",
];
pub(crate) const RPC_METHODS: [&str; 6] = [
    "tools/call",
    "tools/list",
    "initialize",
    "a.b",
    "eth_*",
    "eth_call",
];
pub(crate) const TOOL_PATTERNS: [&str; 5] = ["search_*", "list_*", "*", "**", "execute_code"];
pub(crate) const TOOLS: [&str; 6] = [
    "search_web",
    "list_x",
    "execute_code",
    "a.b",
    "odd name",
    "",
];
pub(crate) const ARGUMENT: &str = "/arguments/path";
pub(crate) const ARGUMENT_PATTERNS: [&str; 4] = ["/etc/*", "/tmp/**", "**", "*"];
pub(crate) const ARGUMENTS: [&str; 4] = ["/etc/passwd", "/tmp/a/b", "/etc/a.conf", "x"];
