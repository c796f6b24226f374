//! Bodies: as many bytes as there may be, and as soon as they have to be there.

use crate::fault::{Fault, Kind};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::time::Duration;

/// All of a body.
pub(crate) async fn receive(body: Body, limit: usize, patience: Duration) -> Result<Bytes, Fault> {
    let arrived = tokio::time::timeout(patience, Limited::new(body, limit).collect()).await;
    let arrived = arrived.map_err(|_| {
        let why = format!(
            "the body did not arrive within {} seconds",
            patience.as_secs()
        );
        Fault::new(Kind::Slow, why)
    })?;
    let arrived = arrived.map_err(|error| match error.is::<LengthLimitError>() {
        true => Fault::new(
            Kind::TooLong,
            format!("the body is longer than {limit} bytes"),
        ),
        false => Fault::new(Kind::Bad, format!("the body could not be read: {error}")),
    })?;
    Ok(arrived.to_bytes())
}
