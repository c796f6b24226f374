//! The REST interface: E2B's routes and shapes, and our own beside them.
//!
//! A handler says in its arguments what it needs: [`auth::May`] a key with a scope, [`body::Json`] a
//! body of a shape, [`params::Params`] the query. What is wrong with any of them is a
//! [`Problem`] before the handler begins. Bodies that change something are checked here,
//! in `shapes`; what they ask for is done in [`lifecycle`](crate::lifecycle).

mod absent;
mod admin;
mod auth;
mod body;
mod host;
mod journal;
mod keys;
mod lifetime;
mod list;
mod logs;
mod metrics;
mod network;
mod nodes;
mod openapi;
mod params;
mod sandboxes;
mod shapes;
mod snapshots;
mod teams;
mod templates;

pub(crate) use auth::key;

use crate::control::Control;
use crate::problem::{Problem, shown};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use http::{Method, StatusCode, Uri};
use std::sync::Arc;

pub(crate) type App = Arc<Control>;

impl Control {
    /// All routes. They are to be served on the port that clients know as `E2B_API_URL`.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/health", get(async || StatusCode::NO_CONTENT))
            .merge(sandboxes::routes())
            .merge(lifetime::routes())
            .merge(network::routes())
            .merge(snapshots::routes())
            .merge(metrics::routes())
            .merge(logs::routes())
            .merge(templates::routes())
            .merge(teams::routes())
            .merge(keys::routes())
            .merge(nodes::routes())
            .merge(admin::routes())
            .merge(journal::routes())
            .merge(absent::routes())
            .merge(openapi::routes())
            .fallback(no_route)
            .method_not_allowed_fallback(no_method)
            .layer(DefaultBodyLimit::max(self.settings.largest_body))
            .layer(axum::middleware::from_fn_with_state(
                Arc::clone(self),
                auth::show_detail,
            ))
            .with_state(Arc::clone(self))
    }
}

async fn no_route(method: Method, uri: Uri) -> Problem {
    Problem::missing(format!("no such route: {method} {}", shown(uri.path())))
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} has no method {method}", shown(uri.path())),
    )
}
