//! Hosts of sites: `wasm-NAME.domain`.

use super::{Place, serve};
use crate::server::App;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::HOST;

/// How the first label of a site's host begins.
const PREFIX: &str = "wasm-";

/// `router`, and before it the hosts of sites.
pub(crate) fn before(router: Router, app: App) -> Router {
    router.layer(from_fn_with_state(app, divert))
}

async fn divert(State(app): State<App>, request: Request, next: Next) -> Response {
    match site(&request, app.shared.settings.domain.as_deref()) {
        Some(name) => serve(app, name, Place::Host, request).await,
        None => next.run(request).await,
    }
}

/// Whose site the request is for, if it is for one.
fn site(request: &Request, domain: Option<&str>) -> Option<String> {
    let line = request.uri().authority().map(|line| line.as_str());
    let header = || request.headers().get(HOST)?.to_str().ok();
    let host = line.or_else(header)?;
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let (label, rest) = host.split_once('.')?;
    let name = label.strip_prefix(PREFIX)?;
    let is_ours = domain.is_none_or(|domain| domain == rest);
    (is_ours && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn a_site_is_known_by_its_host() {
        let asked = |uri: &str, host: &str, domain| {
            let request = Request::builder().uri(uri).header(HOST, host);
            site(&request.body(Body::empty()).unwrap(), domain)
        };
        let found = Some("a-b_1".to_owned());
        assert_eq!(asked("/", "wasm-a-b_1.localhost:3000", None), found);
        assert_eq!(asked("/", "WASM-A-B_1.Sbx.Test.", Some("sbx.test")), found);
        assert_eq!(
            asked("http://wasm-a-b_1.sbx.test/x", "other", Some("sbx.test")),
            found
        );
        for host in [
            "localhost",
            "wasm-a",
            "wasm-.sbx.test",
            "sbx.test",
            "a.sbx.test",
            "[::1]:80",
            "",
        ] {
            assert_eq!(asked("/", host, None), None, "{host}");
        }
        for host in [
            "wasm-a.other.test",
            "wasm-a.x.sbx.test",
            "x.wasm-a.sbx.test",
        ] {
            assert_eq!(asked("/", host, Some("sbx.test")), None, "{host}");
        }
    }
}
