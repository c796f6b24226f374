//! What was found, in the words of the contract.

use super::entry::{Entry, Kind};
use crate::fault::{Cause, Fault};
use crate::watch::event::{self, Event};
use casemate_proto::buffa_types::google::protobuf::Timestamp;
use casemate_proto::connectrpc::{ConnectError, ErrorCode};
use casemate_proto::filesystem::{EntryInfo, EventType, FileType, FilesystemEvent};

pub(super) fn told(event: Event) -> FilesystemEvent {
    FilesystemEvent {
        name: event.name,
        r#type: match event.kind {
            event::Kind::Create => EventType::Create,
            event::Kind::Write => EventType::Write,
            event::Kind::Remove => EventType::Remove,
            event::Kind::Rename => EventType::Rename,
            event::Kind::Chmod => EventType::Chmod,
        }
        .into(),
        entry: event.entry.map(info).into(),
        ..FilesystemEvent::default()
    }
}

pub(super) fn info(entry: Entry) -> EntryInfo {
    let (seconds, nanos) = entry.modified;
    EntryInfo {
        name: entry.name,
        r#type: match entry.kind {
            Kind::File => FileType::File,
            Kind::Folder => FileType::Directory,
            Kind::Other => FileType::Unspecified,
        }
        .into(),
        path: entry.path,
        size: entry.size,
        mode: entry.mode,
        permissions: entry.permissions,
        owner: entry.owner,
        group: entry.group,
        modified_time: Timestamp {
            seconds,
            nanos,
            ..Timestamp::default()
        }
        .into(),
        is_symlink: entry.symlink_target.is_some(),
        symlink_target: entry.symlink_target,
        metadata: entry.metadata.into_iter().collect(),
        ..EntryInfo::default()
    }
}

impl From<Fault> for ConnectError {
    fn from(fault: Fault) -> Self {
        let code = match fault.cause {
            Cause::Missing => ErrorCode::NotFound,
            Cause::Exists => ErrorCode::AlreadyExists,
            Cause::Invalid => ErrorCode::InvalidArgument,
            Cause::State => ErrorCode::FailedPrecondition,
            Cause::Full | Cause::Bound => ErrorCode::ResourceExhausted,
            Cause::Lost => ErrorCode::DataLoss,
            Cause::Refused => ErrorCode::Internal,
        };
        Self::new(code, fault.text)
    }
}
