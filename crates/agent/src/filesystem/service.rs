//! `filesystem.Filesystem`.

use super::entry::Entry;
use super::messages::{info, told};
use super::owner::{Names, Owner};
use super::{folder, list, remove, transfer};
use crate::process::pace;
use crate::users::User;
use crate::watch::event::Event;
use crate::watch::watchers::Watchers;
use crate::watch::{Wanted, Watch};
use crate::{Agent, blocking, paths};
use casemate_proto::connectrpc::{
    ConnectError, Encodable, RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream,
};
use casemate_proto::filesystem::watch_dir_response::{KeepAlive, StartEvent};
use casemate_proto::filesystem::{
    CreateWatcherRequest, CreateWatcherResponse, Filesystem, GetWatcherEventsRequest,
    GetWatcherEventsResponse, ListDirRequest, ListDirResponse, MakeDirRequest, MakeDirResponse,
    MoveRequest, MoveResponse, RemoveRequest, RemoveResponse, RemoveWatcherRequest,
    RemoveWatcherResponse, StatRequest, StatResponse, WatchDirRequest, WatchDirResponse,
};
use casemate_proto::oneof::WatchEvent;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The files of one sandbox.
pub(crate) struct Service {
    agent: Arc<Agent>,
    watchers: Watchers,
}

impl Service {
    pub(crate) fn new(agent: &Arc<Agent>) -> Self {
        Self {
            agent: Arc::clone(agent),
            watchers: Watchers::default(),
        }
    }

    /// The user that a request acts for.
    fn user(&self, ctx: &RequestContext) -> Result<User, ConnectError> {
        User::of_request(&self.agent, ctx.headers())
    }

    /// What a path of that user's means.
    fn path(&self, user: &User, path: &str) -> Result<PathBuf, ConnectError> {
        let workdir = self.agent.given().workdir.clone();
        Ok(paths::resolve(path, &user.home, workdir.as_deref())?)
    }
}

impl Filesystem for Service {
    async fn stat<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, StatRequest>,
    ) -> ServiceResult<impl Encodable<StatResponse> + Send + use<'a>> {
        let path = self.path(&self.user(&ctx)?, request.path)?;
        let entry = blocking::run(move || Entry::at(&path, &Names::read())).await?;
        Response::ok(StatResponse {
            entry: info(entry).into(),
            ..StatResponse::default()
        })
    }

    async fn make_dir<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, MakeDirRequest>,
    ) -> ServiceResult<impl Encodable<MakeDirResponse> + Send + use<'a>> {
        let user = self.user(&ctx)?;
        let path = self.path(&user, request.path)?;
        let owner = Owner::of(&self.agent, &user);
        let entry = blocking::run(move || {
            folder::make(&path, owner)?;
            Entry::at(&path, &Names::read())
        });
        Response::ok(MakeDirResponse {
            entry: info(entry.await?).into(),
            ..MakeDirResponse::default()
        })
    }

    async fn r#move<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, MoveRequest>,
    ) -> ServiceResult<impl Encodable<MoveResponse> + Send + use<'a>> {
        let user = self.user(&ctx)?;
        let source = self.path(&user, request.source)?;
        let destination = self.path(&user, request.destination)?;
        let owner = Owner::of(&self.agent, &user);
        let entry = blocking::run(move || {
            transfer::transfer(&source, &destination, owner)?;
            Entry::at(&destination, &Names::read())
        });
        Response::ok(MoveResponse {
            entry: info(entry.await?).into(),
            ..MoveResponse::default()
        })
    }

    async fn list_dir<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, ListDirRequest>,
    ) -> ServiceResult<impl Encodable<ListDirResponse> + Send + use<'a>> {
        let path = self.path(&self.user(&ctx)?, request.path)?;
        let depth = request.depth;
        let entries = blocking::run(move || list::list(&path, depth)).await?;
        Response::ok(ListDirResponse {
            entries: entries.into_iter().map(info).collect(),
            ..ListDirResponse::default()
        })
    }

    async fn remove<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, RemoveRequest>,
    ) -> ServiceResult<impl Encodable<RemoveResponse> + Send + use<'a>> {
        let path = self.path(&self.user(&ctx)?, request.path)?;
        blocking::run(move || remove::remove(&path)).await?;
        Response::ok(RemoveResponse::default())
    }

    async fn watch_dir(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, WatchDirRequest>,
    ) -> ServiceResult<ServiceStream<impl Encodable<WatchDirResponse> + Send + use<>>> {
        let wanted = Wanted {
            path: self.path(&self.user(&ctx)?, request.path)?,
            recursive: request.recursive,
            entries: request.include_entry,
            remote: request.allow_network_mounts,
        };
        let feed = Feed {
            watch: Watch::new(wanted).await?,
            pace: pace(ctx.headers()),
            stage: Stage::Begin,
        };
        Response::stream_ok(futures_util::stream::unfold(feed, |mut feed| async move {
            let next = feed.next().await?;
            Some((next, feed))
        }))
    }

    async fn create_watcher<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, CreateWatcherRequest>,
    ) -> ServiceResult<impl Encodable<CreateWatcherResponse> + Send + use<'a>> {
        let wanted = Wanted {
            path: self.path(&self.user(&ctx)?, request.path)?,
            recursive: request.recursive,
            entries: request.include_entry,
            remote: request.allow_network_mounts,
        };
        Response::ok(CreateWatcherResponse {
            watcher_id: self.watchers.create(wanted).await?,
            ..CreateWatcherResponse::default()
        })
    }

    async fn get_watcher_events<'a>(
        &'a self,
        _: RequestContext,
        request: ServiceRequest<'_, GetWatcherEventsRequest>,
    ) -> ServiceResult<impl Encodable<GetWatcherEventsResponse> + Send + use<'a>> {
        let events = self.watchers.events(request.watcher_id)?;
        Response::ok(GetWatcherEventsResponse {
            events: events.into_iter().map(told).collect(),
            ..GetWatcherEventsResponse::default()
        })
    }

    async fn remove_watcher<'a>(
        &'a self,
        _: RequestContext,
        request: ServiceRequest<'_, RemoveWatcherRequest>,
    ) -> ServiceResult<impl Encodable<RemoveWatcherResponse> + Send + use<'a>> {
        self.watchers.remove(request.watcher_id)?;
        Response::ok(RemoveWatcherResponse::default())
    }
}

/// What one client is told about a folder, in between signs of life.
struct Feed {
    watch: Watch,
    pace: Duration,
    stage: Stage,
}

enum Stage {
    Begin,
    Events(VecDeque<Event>),
    Ended,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<WatchDirResponse, ConnectError>> {
        let event: WatchEvent = match &mut self.stage {
            Stage::Begin => {
                self.stage = Stage::Events(VecDeque::new());
                StartEvent::default().into()
            }
            Stage::Ended => return None,
            Stage::Events(events) => loop {
                if let Some(event) = events.pop_front() {
                    break told(event).into();
                }
                let arrival = tokio::time::timeout(self.pace, self.watch.arrival());
                if arrival.await.is_err() {
                    break KeepAlive::default().into();
                }
                match self.watch.take() {
                    Ok(arrived) => *events = arrived.into(),
                    // Nothing that follows could be understood without what was lost.
                    Err(fault) => {
                        self.stage = Stage::Ended;
                        return Some(Err(fault.into()));
                    }
                }
            },
        };
        Some(Ok(WatchDirResponse {
            event: Some(event),
            ..WatchDirResponse::default()
        }))
    }
}
