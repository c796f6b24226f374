//! Frames, and what controller and worker say in them.

use crate::call::{
    Answer, Call, Callback, Effects, Entry, Failure, Log, Outgoing, Principal, Ran, RejectCode,
    Statics, Value,
};
use crate::executor::review;
use crate::guest::State;
use crate::module::{Limits, Profile, prepare};
use crate::system::Context;
use crate::wire::{Decoder, Frame, HEADER, Hello, LIMIT, Reader, Writer};
use crate::worker::message::{Addresses, Done, Reply, Request, Word, read_runs, write_runs};
use casemate_sys::pages::{Run, Runs};
use std::sync::{Arc, OnceLock};

/// The first byte says how long the pieces are that the others come in.
pub(super) fn frames(bytes: &[u8]) {
    let Some((length, stream)) = bytes.split_first() else {
        return;
    };
    let mut decoder = Decoder::default();
    let mut written = Vec::new();
    for piece in stream.chunks(usize::from(*length) + 1) {
        decoder.push(piece);
        loop {
            match decoder.take() {
                Ok(Some(frame)) => {
                    assert!(frame.payload.len() <= LIMIT);
                    let _ = Hello::decode(&frame.payload);
                    let again = Frame::encode(frame.kind, frame.descriptors, &frame.payload);
                    written.extend(again.unwrap_or_default());
                }
                Ok(None) => break,
                // Nobody knows where the next one would begin.
                Err(broken) => return assert_eq!(decoder.take(), Err(broken)),
            }
        }
    }
    assert_eq!(stream.get(..written.len()), Some(&written[..]));
    assert!(stream.len() - written.len() < HEADER + LIMIT);
}

pub(super) fn some_frames() -> Vec<Vec<u8>> {
    let frames = [(1, 0, &b""[..]), (2, 3, b"payload"), (9, 16, &[7; 300])];
    let frames = frames.map(|(kind, descriptors, payload)| {
        Frame::encode(kind, descriptors, payload).unwrap_or_default()
    });
    vec![[vec![5], frames.concat()].concat(), vec![0]]
}

pub(super) fn calls(bytes: &[u8]) {
    if let Ok(call) = Call::from_bytes(bytes) {
        assert_eq!(call.to_bytes(), bytes);
    }
}

pub(super) fn some_calls() -> Vec<Vec<u8>> {
    let entries = [
        Entry::Start,
        Entry::Update("increment".to_owned()),
        Entry::CompositeQuery("all of them".to_owned()),
        Entry::Callback {
            context: Context::CompositeReject,
            function: 3,
            environment: u64::MAX,
        },
    ];
    let calls = entries.map(|entry| call(entry).to_bytes());
    calls.into()
}

fn call(entry: Entry) -> Call {
    let mut call = Call::new(entry, Statics::of(Principal::of_canister(7)));
    call.argument = b"DIDL\0\0".to_vec();
    call.rejected = Some((RejectCode::CanisterError, "no".to_owned()));
    call.statics.controllers = vec![Principal::ANONYMOUS, Principal::of_key(b"k")];
    call.statics.cycles = 1000;
    call.cycles = 500;
    call
}

pub(super) fn outcomes(bytes: &[u8]) {
    if let Ok(ran) = Ran::from_bytes(bytes) {
        assert_eq!(ran.to_bytes(), bytes);
    }
}

pub(super) fn some_outcomes() -> Vec<Vec<u8>> {
    all_outcomes().map(|ran| ran.to_bytes()).into()
}

fn all_outcomes() -> [Ran; 3] {
    let callback = Callback {
        function: 1,
        environment: 2,
    };
    let went_well = Ran {
        result: Ok(Some(Answer::Reply(b"an answer".to_vec()))),
        instructions: 17,
        effects: Effects {
            logs: vec![Log {
                time: 1,
                text: vec![0xff],
            }],
            accepted: 5,
            burned: 6,
            certified: Some(vec![1; 32]),
            timer: Some(9),
            calls: vec![Outgoing {
                callee: Principal::MANAGEMENT,
                method: "raw_rand".to_owned(),
                argument: vec![],
                cycles: 5,
                timeout: Some(3),
                on_reply: callback,
                on_reject: callback,
                cleanup: Some(callback),
            }],
            ..Effects::default()
        },
        globals: vec![Value::I32(-1), Value::I64(7)],
        heap_pages: 3,
        stable_pages: 2,
    };
    let failed = Ran {
        result: Err(Failure::Trap {
            kind: "unreachable".to_owned(),
            frames: vec!["f (offset 0x3)".to_owned()],
        }),
        effects: Effects::default(),
        globals: Vec::new(),
        heap_pages: 2,
        stable_pages: 1,
        ..went_well.clone()
    };
    let rejected = Ran {
        result: Ok(Some(Answer::Reject("no".to_owned()))),
        ..went_well.clone()
    };
    [went_well, failed, rejected]
}

pub(super) fn requests(bytes: &[u8]) {
    if let Ok((number, request)) = Request::from_bytes(bytes) {
        assert_eq!(
            Request::from_bytes(&request.to_bytes(number)),
            Ok((number, request))
        );
    }
}

pub(super) fn some_requests() -> Vec<Vec<u8>> {
    let call = Arc::new(call(Entry::Query("get".to_owned())));
    let requests = [
        Request::Initialise,
        Request::Run(call.clone()),
        Request::Query(
            Some(State {
                globals: vec![Value::I32(1)],
                heap_pages: 2,
                stable_pages: 1,
            }),
            call.clone(),
        ),
        Request::Query(None, call),
        Request::Go(crate::call::Pace::Abort),
    ];
    requests.map(|request| request.to_bytes(3)).into()
}

pub(super) fn replies(bytes: &[u8]) {
    if let Ok(reply) = Reply::from_bytes(bytes) {
        assert_eq!(reply.to_bytes(), bytes);
    }
}

pub(super) fn some_replies() -> Vec<Vec<u8>> {
    let [well, failed, rejected] = all_outcomes();
    let pages = |list: &[(usize, usize)]| -> Runs {
        let runs = list.iter().map(|(start, end)| Run {
            start: *start,
            end: *end,
        });
        runs.collect()
    };
    let reply = |ran: Ran, heap: &[(usize, usize)], stable: &[(usize, usize)]| Reply {
        number: 4,
        word: Word::Done(Done {
            ran,
            heap: pages(heap),
            stable: pages(stable),
            at: None,
        }),
    };
    let mut left = reply(well.clone(), &[(0, 2)], &[]);
    if let Word::Done(done) = &mut left.word {
        done.at = Some(Addresses {
            heap: 1 << 40,
            stable: u64::MAX,
        });
    }
    let replies = [
        reply(well, &[(0, 2), (40, 48)], &[(31, 32)]),
        reply(failed, &[], &[]),
        left,
        reply(rejected, &[(47, 48)], &[]),
        Reply {
            number: u64::MAX,
            word: Word::Failed("it is broken".to_owned()),
        },
    ];
    replies.map(|reply| reply.to_bytes()).into()
}

/// Of a module with two globals, whose heap has 2 to 10 pages and its stable memory 5 at most.
fn profile() -> &'static Profile {
    static PROFILE: OnceLock<Profile> = OnceLock::new();
    PROFILE.get_or_init(|| {
        let text = b"(module (memory 2 10)
            (global (mut i32) (i32.const 0)) (global (mut i64) (i64.const 0)))";
        let limits = Limits {
            stable_pages: 5,
            ..Limits::default()
        };
        prepare(text, &limits).expect("a module").profile
    })
}

/// What a worker says of a call, and whether it is believed.
pub(super) fn reviews(bytes: &[u8]) {
    let Ok(Reply {
        word: Word::Done(done),
        ..
    }) = Reply::from_bytes(bytes)
    else {
        return;
    };
    let profile = profile();
    let before = State {
        globals: vec![Value::I32(0), Value::I64(0)],
        heap_pages: 2,
        stable_pages: 1,
    };
    let (ran, runs) = (&done.ran, [&done.heap, &done.stable]);
    let call = call(Entry::Update("increment".to_owned()));
    let query = self::call(Entry::Query("get".to_owned()));
    let composite = self::call(Entry::CompositeQuery("all of them".to_owned()));
    for call in [None, Some(&call), Some(&query), Some(&composite)] {
        let goes_on = done.at.is_some() && call.is_some_and(|call| call.goes_on(ran));
        if review(profile, &before, call, ran, runs, goes_on).is_err() {
            continue;
        }
        // Nothing that is believed reaches beyond the canister's own.
        for (runs, pages, most) in [
            (runs[0], ran.heap_pages, 10),
            (runs[1], ran.stable_pages, 5),
        ] {
            let end = runs.as_slice().last().map_or(0, |run| run.end as u64);
            assert!(end <= pages * 16 && pages <= most);
        }
        let effects = &ran.effects;
        let spent = effects.burned.checked_add(effects.attached());
        assert!(effects.accepted <= 500);
        assert!(spent.is_some_and(|spent| spent <= 1000 + effects.accepted));
        let keeps = ran.result.is_ok() && call.is_none_or(|call| call.entry.keeps());
        let keeps = keeps || goes_on;
        assert!(keeps || runs.iter().all(|runs| runs.is_empty()) && ran.globals.is_empty());
    }
}

pub(super) fn runs(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let Ok(found) = read_runs(&mut reader) else {
        return;
    };
    let mut writer = Writer::default();
    write_runs(&mut writer, &found);
    let written = writer.finish();
    assert_eq!(bytes.get(..written.len()), Some(&written[..]));
    assert!(found.as_slice().is_sorted_by(|a, b| a.end < b.start));
    assert!(found.as_slice().iter().all(|run| !run.is_empty()));
}

pub(super) fn some_runs() -> Vec<Vec<u8>> {
    let lists: [&[(usize, usize)]; 3] = [
        &[],
        &[(0, 1), (7, 300)],
        &[(1 << 20, 1 << 21), (1 << 40, 1 + (1 << 40))],
    ];
    let write = |list: &[(usize, usize)]| {
        let runs = list.iter().map(|(start, end)| Run {
            start: *start,
            end: *end,
        });
        let mut writer = Writer::default();
        write_runs(&mut writer, &runs.collect());
        writer.finish()
    };
    lists.map(write).into()
}
