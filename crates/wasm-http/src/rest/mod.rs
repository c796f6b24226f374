//! The routes. One table has them all: what is served, and what the document says of it.

mod body;
mod call;
mod carry;
mod install;
mod look;
mod terms;

use crate::fault::{Fault, Kind};
use crate::openapi::{Doc, Gives, Takes};
use crate::server::App;
use crate::site;
use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::routing::{MethodRouter, any, delete, get, post, put};
use http::Method;
use http::request::Parts;
use serde::de::DeserializeOwned;

pub(crate) use body::Memory;
pub(crate) use terms::OUTCOME;

/// A route, and what is said of it.
pub(crate) struct Route {
    pub(crate) doc: Doc,
    handler: MethodRouter<App>,
}

/// The header that says how much of an installation's body is the argument.
pub(crate) const ARGUMENT_LENGTH: &str = "casemate-argument-length";

#[rustfmt::skip]
pub(crate) fn table() -> Vec<Route> {
    use Gives as G;
    use Takes as T;
    let route = |verb, path, summary, takes, gives, handler| Route {
        doc: Doc { verb, path, summary, takes, gives },
        handler,
    };
    vec![
        route("get", "/wasm", "The names of all canisters", T::Nothing, G::Names, get(look::list)),
        route("get", "/wasm/{name}", "What a canister is, and how it is", T::Nothing, G::Status, get(look::status)),
        route("get", "/wasm/{name}/logs", "What it printed last, the oldest first", T::Nothing, G::Lines, get(look::logs)),
        route("get", "/wasm/{name}/candid", "The interface that its module carries", T::Nothing, G::Candid, get(look::interface)),
        route("post", "/wasm/{name}", "Make a canister of a module", T::Module, G::Made, post(install::install)),
        route("put", "/wasm/{name}", "Replace its module, and keep its stable memory; with `mode=reinstall`, forget that as well", T::Replacement, G::Made, put(install::replace)),
        route("delete", "/wasm/{name}", "Remove it, and all that it knew", T::Nothing, G::Nothing, delete(install::remove)),
        route("post", "/wasm/{name}/start", "Let it take calls again", T::Nothing, G::Nothing, post(install::start)),
        route("post", "/wasm/{name}/stop", "Let it take no more calls", T::Nothing, G::Nothing, post(install::stop)),
        route("get", "/wasm/{name}/export", "An archive of it as it is now: code, memory, and all else that is known of it", T::Nothing, G::Archive, get(carry::export)),
        route("post", "/wasm/{name}/import", "Make a canister of an archive", T::Archive, G::Made, post(carry::import)),
        route("post", "/wasm/{name}/replay", "Run its kept calls again, and prove that they come to the same", T::Nothing, G::Replayed, post(carry::replay)),
        route("post", "/wasm/{name}/call/{method}", "Call a method; what it changes is kept", T::Argument, G::Reply, post(call::call)),
        route("post", "/wasm/{name}/query/{method}", "Ask a method; nothing that it changes is kept", T::Argument, G::Reply, post(call::query)),
        route("post", "/wasm/-/tick", "Run timers and heartbeats that are due, of all canisters", T::Nothing, G::Nothing, post(call::tick)),
        route("post", "/wasm/-/inspect", "The interface that a module carries; nothing is installed", T::Bare, G::Candid, post(look::inspect)),
        route("get", "/wasm/{name}/www/{path}", "Its web site: any HTTP method is its `http_request`'s", T::Anything, G::Page, any(site::page)),
        route("get", "/wasm/openapi.json", "This document", T::Nothing, G::Document, get(crate::openapi::document)),
    ]
}

pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in table() {
        // A path of the document is one segment, and the site's goes on.
        let path = route.doc.path.replace("{path}", "{*path}");
        router = router.route(&path, route.handler);
    }
    router
        .route("/wasm/{name}/www/", any(site::front_page))
        .route("/wasm/{name}/www", any(site::folder))
        .method_not_allowed_fallback(no_verb)
        .with_state(app)
}

/// For who serves nothing beside these.
pub(crate) async fn no_route(method: Method) -> Fault {
    let why = format!("no such route for {method}");
    Fault::new(Kind::NoRoute, why).hint("GET /wasm/openapi.json says which there are")
}

async fn no_verb(method: Method) -> Fault {
    let why = format!("this route has no method {method}");
    Fault::new(Kind::NoVerb, why).hint("GET /wasm/openapi.json says which there are")
}

/// What stands in the path.
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let found = Path::from_request_parts(parts, state).await;
        let Path(found) = found.map_err(|why| Fault::new(Kind::Bad, why.body_text()))?;
        Ok(Self(found))
    }
}
