//! What things would cost ([`price`]): asked, so that enough is attached.

use super::{Word, enter, function, given, put_128};
use crate::guest::host::Host;
use crate::guest::trap::Stop;
use crate::system::Function;
use crate::system::price::{self, Nodes, Outcall, Scheme};
use candid::de::IDLDeserialize;
use candid::{CandidType, DecoderConfig, Deserialize, Reserved};
use wasmtime::{Caller, Linker};

/// The longest name of a key that is compared, bytes.
const LONGEST_NAME: u64 = 1 << 10;
/// The longest description of a request, bytes.
const LONGEST_PARAMETERS: u64 = 4 << 10;
/// What reading it may take, and skipping what it has too much (candid's quotas).
const READING: usize = 100_000;
const SKIPPING: usize = 1_000;

/// As the interface specification has it.
#[derive(CandidType, Deserialize)]
struct Parameters {
    request_bytes: u64,
    http_roundtrip_time_ms: u64,
    raw_response_bytes: u64,
    transformed_response_bytes: u64,
    transform_instructions: u64,
    outcall_type: Option<Kind>,
}

#[derive(CandidType, Deserialize)]
enum Kind {
    #[serde(rename = "fully_replicated")]
    All(Reserved),
    #[serde(rename = "non_replicated")]
    One(Reserved),
    #[serde(rename = "flexible")]
    Some(Option<Counts>),
}

#[derive(CandidType, Deserialize)]
struct Counts {
    min_responses: u32,
    max_responses: u32,
    total_requests: u32,
}

pub(super) fn link<W: Word>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let own = function("cost_call")?;
    linker.func_wrap(
        "ic0",
        "cost_call",
        move |mut caller: Caller<'_, Host>, name: u64, argument: u64, to: W| {
            enter(&mut caller, own)?;
            let cycles = price::call(name, argument, size_of::<W>() == 8);
            wasmtime::Result::<()>::Ok(put_128(&mut caller, own, to, cycles)?)
        },
    )?;
    let own = function("cost_create_canister")?;
    linker.func_wrap(
        "ic0",
        "cost_create_canister",
        move |mut caller: Caller<'_, Host>, to: W| {
            enter(&mut caller, own)?;
            wasmtime::Result::<()>::Ok(put_128(&mut caller, own, to, price::creation())?)
        },
    )?;
    let own = function("cost_http_request")?;
    linker.func_wrap(
        "ic0",
        "cost_http_request",
        move |mut caller: Caller<'_, Host>, request: u64, response: u64, to: W| {
            enter(&mut caller, own)?;
            let cycles = price::http_request(request, response);
            wasmtime::Result::<()>::Ok(put_128(&mut caller, own, to, cycles)?)
        },
    )?;
    let own = function("cost_http_request_v2")?;
    linker.func_wrap(
        "ic0",
        "cost_http_request_v2",
        move |mut caller: Caller<'_, Host>, from: W, size: W, to: W| {
            enter(&mut caller, own)?;
            let bytes = given(&mut caller, own, from, size, LONGEST_PARAMETERS)?;
            let cycles = price::outcall(&parameters(own, &bytes)?);
            wasmtime::Result::<()>::Ok(put_128(&mut caller, own, to, cycles)?)
        },
    )?;
    for (name, scheme) in [
        ("cost_sign_with_ecdsa", Scheme::Ecdsa),
        ("cost_sign_with_schnorr", Scheme::Schnorr),
        ("cost_vetkd_derive_key", Scheme::VetKd),
    ] {
        let own = function(name)?;
        linker.func_wrap(
            "ic0",
            name,
            move |mut caller: Caller<'_, Host>, from: W, size: W, curve: u32, to: W| {
                enter(&mut caller, own)?;
                let name = given(&mut caller, own, from, size, LONGEST_NAME)?;
                wasmtime::Result::<i32>::Ok(match price::key(scheme, curve, &name) {
                    Ok(cycles) => {
                        put_128(&mut caller, own, to, cycles)?;
                        0
                    }
                    Err(none) => none as i32,
                })
            },
        )?;
    }
    Ok(())
}

fn parameters(own: &'static Function, bytes: &[u8]) -> Result<Outcall, Stop> {
    let mut quotas = DecoderConfig::new();
    quotas.set_decoding_quota(READING);
    quotas.set_skipping_quota(SKIPPING);
    let read = IDLDeserialize::new_with_config(bytes, &quotas).and_then(|mut reader| {
        let parameters: Parameters = reader.get_value()?;
        reader.done()?;
        Ok(parameters)
    });
    let asked = read.map_err(|_| {
        let why = "the parameters are no Candid record as the interface specification has it";
        Stop::contract(own, why)
    })?;
    Ok(Outcall {
        request_bytes: asked.request_bytes,
        milliseconds: asked.http_roundtrip_time_ms,
        response_bytes: asked.raw_response_bytes,
        transformed_bytes: asked.transformed_response_bytes,
        instructions: asked.transform_instructions,
        nodes: match asked.outcall_type {
            None | Some(Kind::All(_)) => Nodes::All,
            Some(Kind::One(_)) => Nodes::One,
            Some(Kind::Some(None)) => Nodes::UNSAID,
            Some(Kind::Some(Some(counts))) => Nodes::Some {
                least: counts.min_responses,
                most: counts.max_responses,
                asked: counts.total_requests,
            },
        },
    })
}
