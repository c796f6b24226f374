//! The events of one stream: the start, output, the end; and signs of life in between.

use super::output::{Item, Subscriber};
use super::ring::{Chunk, Source};
use casemate_proto::oneof::{Event, Output};
use casemate_proto::process::ProcessEvent;
use casemate_proto::process::process_event::{DataEvent, KeepAlive, StartEvent};
use http::HeaderMap;
use std::time::Duration;

/// How often a quiet stream says something, unless its client asks for another pace.
const PACE: Duration = Duration::from_secs(90);

/// A stream of events, begun and not ended.
pub(super) struct Feed {
    subscriber: Subscriber,
    pace: Duration,
    stage: Stage,
}

enum Stage {
    Begin { pid: u32 },
    Output,
    Ended,
}

impl Feed {
    pub(super) fn new(pid: u32, subscriber: Subscriber, headers: &HeaderMap) -> Self {
        Self {
            subscriber,
            pace: pace(headers),
            stage: Stage::Begin { pid },
        }
    }

    /// The events, wrapped as the stream's responses.
    pub(super) fn stream<T>(
        self,
        wrap: fn(ProcessEvent) -> T,
    ) -> impl futures_util::Stream<Item = Result<T, casemate_proto::connectrpc::ConnectError>> {
        futures_util::stream::unfold(self, move |mut feed| async move {
            let event = Some(feed.next().await?);
            let event = ProcessEvent {
                event,
                ..ProcessEvent::default()
            };
            Some((Ok(wrap(event)), feed))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        match self.stage {
            Stage::Begin { pid } => {
                self.stage = Stage::Output;
                Some(
                    StartEvent {
                        pid,
                        ..StartEvent::default()
                    }
                    .into(),
                )
            }
            Stage::Output => Some(self.output().await),
            Stage::Ended => None,
        }
    }

    async fn output(&mut self) -> Event {
        match tokio::time::timeout(self.pace, self.subscriber.next()).await {
            Ok(Item::Chunk(chunk)) => data(&chunk).into(),
            Ok(Item::End(end)) => {
                self.stage = Stage::Ended;
                end.event().into()
            }
            Err(_) => KeepAlive::default().into(),
        }
    }
}

fn data(chunk: &Chunk) -> DataEvent {
    let bytes = chunk.bytes.to_vec();
    let output = match chunk.source {
        Source::Stdout => Output::Stdout(bytes),
        Source::Stderr => Output::Stderr(bytes),
        Source::Terminal => Output::Pty(bytes),
    };
    DataEvent {
        output: Some(output),
        ..DataEvent::default()
    }
}

/// `Keepalive-Ping-Interval`, in seconds; what isn't a positive number is passed over.
pub(crate) fn pace(headers: &HeaderMap) -> Duration {
    headers
        .get("keepalive-ping-interval")
        .and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok())
        .filter(|seconds| *seconds > 0)
        .map_or(PACE, |seconds| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_set_the_pace() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("keepalive-ping-interval", value.parse().unwrap());
            pace(&headers)
        };
        assert_eq!(of("50"), Duration::from_secs(50));
        for odd in ["0", "-1", "x", "", "99999999999"] {
            assert_eq!(of(odd), PACE, "{odd}");
        }
        assert_eq!(pace(&HeaderMap::new()), PACE);
    }
}
