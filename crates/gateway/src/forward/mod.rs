//! A request into a sandbox, and its response back.
//!
//! The head is written anew ([`headers`]); in path mode, and only there, the path is shortened and
//! the answer's places are lengthened again ([`prefix`]). The [body](upload) goes as it comes, held
//! back while it isn't known whether it's wanted (`Expect`). The [response's](relay) is cut off with
//! an error when the sandbox ends, in a Connect stream with one that its [client](connect) can read.
//! An [upgrade] becomes a pair of byte streams; a [raw] stream is one from the start.

mod connect;
mod exchange;
mod headers;
mod prefix;
mod raw;
mod relay;
mod upgrade;
mod upload;

use crate::accept::Client;
use crate::admit::admit;
use crate::answer::{Answer, Body};
use crate::class::{Class, asks_for_pty};
use crate::gateway::Shared;
use crate::inside::Inside;
use crate::link::Way;
use crate::route::{Authority, Target, is_internal};
use casemate_core::node::Door;
use exchange::Exchange;
use headers::Outgoing;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use relay::Escort;
use std::sync::Arc;
use std::time::Instant;
use upload::Upload;

/// Bytes after which a task lets others go first, a read apart: what a key's echo waits for.
const BURST: usize = 256 << 10;

/// A request that was read as far as its head.
pub(crate) struct Asked {
    pub(crate) parts: Parts,
    pub(crate) body: Incoming,
    pub(crate) upgrade: OnUpgrade,
    pub(crate) host: Authority,
    pub(crate) client: Client,
}

/// A request on its way to a sandbox.
struct Forward<'a> {
    shared: &'a Arc<Shared>,
    target: Target,
    host: Authority,
    inside: Arc<Inside>,
    class: Class,
    resumes: bool,
}

/// Does what the client asked of a sandbox.
pub(crate) async fn forward(
    shared: &Arc<Shared>,
    target: Target,
    asked: Asked,
) -> Result<Response<Body>, Answer> {
    let began = Instant::now();
    let path = match &target.prefix {
        None => whole(&asked.parts),
        Some(prefix) => prefix::inside(&asked.parts, prefix)?,
    };
    if target.door == Door::Agent && is_internal(path.path()) {
        return Err(Answer::NotFound);
    }
    let sandbox = admit(shared, &target, path.path(), &asked.parts).await?;
    let inside = shared.insides.of(&target.id);
    inside.touch();
    if raw::is_wanted(&target, &asked.parts) {
        return raw::open(shared, &target, inside, asked.upgrade).await;
    }

    let starts = Class::is_open(target.door, path.path()) && asked.parts.method == Method::POST;
    let mut upload = Upload::new(asked.body);
    let class = classify(&target, &path, &asked.parts, &mut upload).await?;
    let metrics = &shared.settings.metrics;
    upload.counts(metrics.bytes(class).0, Arc::clone(&inside));
    let upgrade = match target.door {
        // The agent has none, and what follows one isn't looked at any more.
        Door::Agent => None,
        Door::Port(_) => upgrade::wanted(&asked.parts),
    };
    let outgoing = Outgoing::new(
        path,
        &asked.parts,
        headers::Circumstances {
            host: &asked.host,
            client: asked.client,
            port: target.port(),
            mask: sandbox
                .mask_host
                .as_deref()
                .filter(|_| target.door != Door::Agent),
            prefix: target
                .prefix
                .as_ref()
                .filter(|prefix| !prefix.kept)
                .map(|prefix| prefix.path.as_str()),
            behind_proxy: shared.settings.behind_proxy,
            upgrade: upgrade.as_ref(),
            has_body: !upload.is_empty(),
        },
    );
    let forward = Forward {
        shared,
        host: asked.host,
        inside,
        class,
        resumes: sandbox.resumes,
        target,
    };
    let answered = forward.answered(outgoing, upload, upgrade.map(|own| (own, asked.upgrade)));
    let answered = answered.await;
    let status = match &answered {
        Ok(response) => response.status(),
        Err(answer) => answer.status(),
    };
    metrics.answered(class, status, began.elapsed());
    if starts {
        metrics.began(began.elapsed());
    }
    answered
}

impl Forward<'_> {
    async fn answered(
        &self,
        outgoing: Outgoing,
        upload: Upload,
        upgrade: Option<(http::HeaderValue, OnUpgrade)>,
    ) -> Result<Response<Body>, Answer> {
        let way = Way {
            id: self.target.id.clone(),
            door: self.target.door,
            host: Some(outgoing.host.clone()).filter(|_| self.target.door != Door::Agent),
        };
        let sent_host = outgoing.host.clone();
        let exchange = Exchange::new(self.shared, &self.inside, self.class, way, self.resumes);
        let (mut response, link) = exchange.send(outgoing, upload).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let theirs = hyper::upgrade::on(&mut response);
            let Some((wanted, ours)) = upgrade else {
                let why = "The program inside changed the protocol unasked";
                return Err(Answer::broken(&self.target.id, why));
            };
            let protocol = upgrade::agreed(&wanted, response.headers());
            let protocol = protocol.ok_or_else(|| {
                let why = "The program inside changed to a protocol that nobody asked for";
                Answer::broken(&self.target.id, why)
            })?;
            headers::clean(response.headers_mut());
            upgrade::restore(response.headers_mut(), protocol);
            let tunnel = upgrade::Tunnel {
                ours,
                theirs,
                _link: link,
                flow: upgrade::Flow {
                    inside: Arc::clone(&self.inside),
                    counts: self.shared.settings.metrics.bytes(self.class),
                },
            };
            self.shared.tunnels.spawn(tunnel.run());
            return Ok(response.map(|_| crate::answer::empty()));
        }
        headers::clean(response.headers_mut());
        if let Some(prefix) = &self.target.prefix {
            let own = [self.host.text(), Some(&sent_host)];
            let place = prefix::Place::new(&prefix.path, self.target.port(), own);
            place.lengthen(response.headers_mut());
        }
        let escort = Escort {
            link,
            inside: Arc::clone(&self.inside),
            pools: Arc::clone(&self.shared.pools),
            counter: self.shared.settings.metrics.bytes(self.class).1,
            grief: self.shared.settings.patience.grief,
        };
        Ok(relay::relayed(response, escort))
    }
}

/// The path as the client sent it, byte by byte.
fn whole(parts: &Parts) -> PathAndQuery {
    let path = parts.uri.path_and_query().cloned();
    path.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// The class; for a new process, what it's started with is waited for.
async fn classify(
    target: &Target,
    path: &PathAndQuery,
    parts: &Parts,
    upload: &mut Upload,
) -> Result<Class, Answer> {
    let class = Class::of(target.door, path.path());
    let open = Class::is_open(target.door, path.path()) && parts.method == Method::POST;
    if !open || headers::expects(parts) {
        return Ok(class);
    }
    let kind = parts.headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    let json = kind.is_some_and(|kind| kind.ends_with(b"json"));
    let first = upload.first().await;
    let first = first.map_err(|_| Answer::Bad("the request's body broke off"))?;
    Ok(match first {
        Some(first) if asks_for_pty(first, json) => Class::Pty,
        _ => class,
    })
}

/// True if the client speaks HTTP/1.1, with its upgrades and expectations.
fn is_http11(parts: &Parts) -> bool {
    parts.version == Version::HTTP_11
}
