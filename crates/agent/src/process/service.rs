//! `process.Process`.

use super::feed::Feed;
use super::input::{Kind, Refused};
use super::life::{self, Order};
use super::output::From;
use super::spawn::Plan;
use super::table::{Process, Table};
use super::terminal::resize;
use crate::Agent;
use crate::users::User;
use casemate_proto::connectrpc::{
    ConnectError, Encodable, InboundStream, RequestContext, Response, ServiceRequest,
    ServiceResult, ServiceStream,
};
use casemate_proto::oneof::{Input, InputEvent};
use casemate_proto::process::{
    CloseStdinRequest, CloseStdinResponse, ConnectRequest, ConnectResponse, ListRequest,
    ListResponse, ProcessInput, SendInputRequest, SendInputResponse, SendSignalRequest,
    SendSignalResponse, Signal, StartRequest, StartResponse, StreamInputRequest,
    StreamInputResponse, UpdateRequest, UpdateResponse,
};
use futures_util::StreamExt;
use http::HeaderMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Bytes of a tag.
const TAG: usize = 1024;
/// Asks for output from this chunk on.
const REPLAY: &str = "casemate-replay-from";
/// The number of the first chunk of a response.
const SEQUENCE: &str = "casemate-sequence";
/// How many chunks before it were asked for and are gone.
const LOST: &str = "casemate-lost";

/// The processes of one agent.
pub(crate) struct Service {
    agent: Arc<Agent>,
    table: Arc<Table>,
}

impl Service {
    pub(crate) fn new(agent: &Arc<Agent>) -> Self {
        Self {
            agent: Arc::clone(agent),
            table: Arc::default(),
        }
    }

    fn order(&self, ctx: &RequestContext, request: StartRequest) -> Result<Order, ConnectError> {
        if self.table.is_full() {
            return Err(ConnectError::resource_exhausted("too many processes"));
        }
        if request.tag.as_ref().is_some_and(|tag| tag.len() > TAG) {
            let message = format!("tag is longer than {TAG} bytes");
            return Err(ConnectError::invalid_argument(message));
        }
        let user = User::of_request(&self.agent, ctx.headers())?;
        let config = request.process.into_option().unwrap_or_default();
        Ok(Order {
            plan: Plan::new(&self.agent, &user, &config)?,
            config,
            tag: request.tag,
            terminal: request.pty.into_option(),
            stdin: request.stdin.unwrap_or(true),
            deadline: ctx.deadline().map(Into::into),
        })
    }
}

impl casemate_proto::process::Process for Service {
    async fn list<'a>(
        &'a self,
        _: RequestContext,
        _: ServiceRequest<'_, ListRequest>,
    ) -> ServiceResult<impl Encodable<ListResponse> + Send + use<'a>> {
        Response::ok(ListResponse {
            processes: self.table.list(),
            ..ListResponse::default()
        })
    }

    async fn connect(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, ConnectRequest>,
    ) -> ServiceResult<ServiceStream<impl Encodable<ConnectResponse> + Send + use<>>> {
        let request = request.to_owned_message();
        let process = self.table.known(&request.process)?;
        let from = replay(ctx.headers())?;
        let subscriber = process.output.subscribe(from).ok_or_else(|| {
            ConnectError::resource_exhausted("the process has too many subscribers")
        })?;
        let (first, lost) = (subscriber.position, subscriber.lost);
        let feed = Feed::new(process.pid, subscriber, ctx.headers());
        let wrap = |event| ConnectResponse {
            event: Some(event).into(),
            ..ConnectResponse::default()
        };
        let mut response = Response::stream(feed.stream(wrap)).with_header(SEQUENCE, first);
        if lost > 0 {
            response = response.with_header(LOST, lost);
        }
        Ok(response)
    }

    async fn start(
        &self,
        ctx: RequestContext,
        request: ServiceRequest<'_, StartRequest>,
    ) -> ServiceResult<ServiceStream<impl Encodable<StartResponse> + Send + use<>>> {
        let order = self.order(&ctx, request.to_owned_message())?;
        let (answer, begun) = oneshot::channel();
        let (agent, table) = (Arc::clone(&self.agent), Arc::clone(&self.table));
        self.table.live(life::live(agent, table, order, answer));
        let (pid, subscriber) = begun
            .await
            .map_err(|_| ConnectError::unavailable("the agent is going down"))??;
        let feed = Feed::new(pid, subscriber, ctx.headers());
        Response::stream_ok(feed.stream(|event| StartResponse {
            event: Some(event).into(),
            ..StartResponse::default()
        }))
    }

    async fn update<'a>(
        &'a self,
        _: RequestContext,
        request: ServiceRequest<'_, UpdateRequest>,
    ) -> ServiceResult<impl Encodable<UpdateResponse> + Send + use<'a>> {
        let request = request.to_owned_message();
        let process = self.table.running(&request.process)?;
        if let Some(size) = request.pty.into_option() {
            let master = process.terminal.as_ref();
            let master = master.ok_or_else(|| refused(Refused::NoTerminal))?;
            resize(master, &size).map_err(|errno| {
                let why = std::io::Error::from(errno);
                ConnectError::internal(format!("resize the terminal: {why}"))
            })?;
        }
        Response::ok(UpdateResponse::default())
    }

    async fn stream_input<'a>(
        &'a self,
        _: RequestContext,
        mut requests: InboundStream<StreamInputRequest>,
    ) -> ServiceResult<impl Encodable<StreamInputResponse> + Send + use<'a>> {
        let mut process = None;
        while let Some(request) = requests.next().await {
            match request?.to_owned_message().event {
                Some(InputEvent::Start(start)) => {
                    process = Some(self.table.running(&start.process)?);
                }
                Some(InputEvent::Data(data)) => {
                    let process = process.as_ref().ok_or_else(|| {
                        ConnectError::invalid_argument("data before start: no process")
                    })?;
                    write(process, data.input.into_option()).await?;
                }
                Some(InputEvent::Keepalive(_)) | None => {}
            }
        }
        Response::ok(StreamInputResponse::default())
    }

    async fn send_input<'a>(
        &'a self,
        _: RequestContext,
        request: ServiceRequest<'_, SendInputRequest>,
    ) -> ServiceResult<impl Encodable<SendInputResponse> + Send + use<'a>> {
        let request = request.to_owned_message();
        let process = self.table.running(&request.process)?;
        write(&process, request.input.into_option()).await?;
        Response::ok(SendInputResponse::default())
    }

    async fn send_signal<'a>(
        &'a self,
        _: RequestContext,
        request: ServiceRequest<'_, SendSignalRequest>,
    ) -> ServiceResult<impl Encodable<SendSignalResponse> + Send + use<'a>> {
        let request = request.to_owned_message();
        let process = self.table.running(&request.process)?;
        let signal = match request.signal.as_known() {
            Some(Signal::SIGNAL_SIGTERM) => rustix::process::Signal::TERM,
            Some(Signal::SIGNAL_SIGKILL) => rustix::process::Signal::KILL,
            _ => {
                return Err(ConnectError::invalid_argument(
                    "signal is neither TERM nor KILL",
                ));
            }
        };
        rustix::process::pidfd_send_signal(&process.pidfd, signal).map_err(|errno| {
            let why = std::io::Error::from(errno);
            ConnectError::internal(format!("signal process {}: {why}", process.pid))
        })?;
        Response::ok(SendSignalResponse::default())
    }

    async fn close_stdin<'a>(
        &'a self,
        _: RequestContext,
        request: ServiceRequest<'_, CloseStdinRequest>,
    ) -> ServiceResult<impl Encodable<CloseStdinResponse> + Send + use<'a>> {
        let request = request.to_owned_message();
        let process = self.table.running(&request.process)?;
        process.input.close().await.map_err(refused)?;
        Response::ok(CloseStdinResponse::default())
    }
}

async fn write(process: &Process, input: Option<ProcessInput>) -> Result<(), ConnectError> {
    let (kind, bytes) = match input.and_then(|input| input.input) {
        Some(Input::Stdin(bytes)) => (Kind::Stdin, bytes),
        Some(Input::Pty(bytes)) => (Kind::Terminal, bytes),
        None => {
            return Err(ConnectError::invalid_argument(
                "input is neither stdin nor pty",
            ));
        }
    };
    process.input.write(kind, bytes).await.map_err(refused)
}

fn refused(why: Refused) -> ConnectError {
    ConnectError::failed_precondition(why.to_string())
}

fn replay(headers: &HeaderMap) -> Result<From, ConnectError> {
    let Some(value) = headers.get(REPLAY) else {
        return Ok(From::Now);
    };
    let number = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    number
        .map(From::Chunk)
        .ok_or_else(|| ConnectError::invalid_argument(format!("{REPLAY}: not a number")))
}
