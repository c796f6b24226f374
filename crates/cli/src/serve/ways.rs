//! The control plane, as the gateway asks it.

use casemate_control::Control;
use casemate_core::error::Error;
use casemate_core::node::Refusal;
use casemate_core::sandbox::SandboxId;
use casemate_gateway::{Sandbox, Sandboxes, Signed, Soon, Traffic};
use std::sync::Arc;

/// See the module.
pub(super) struct Ways(pub(super) Arc<Control>);

impl Sandboxes for Ways {
    fn find<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, Option<Sandbox>> {
        Box::pin(async move {
            let way = self.0.look_up(id).await?;
            Some(Sandbox {
                state: way.state,
                resumes: way.wakes,
                access_token: way.access_token,
                traffic: way.traffic_token.map_or(Traffic::Public, Traffic::Private),
                mask_host: way.mask_host,
            })
        })
    }

    fn find_by_signature<'a>(&'a self, signed: &'a Signed) -> Soon<'a, Option<SandboxId>> {
        Box::pin(async move {
            // What isn't a number was signed by nobody.
            let expiration = signed.expiration.as_deref().map(str::parse).transpose();
            let signed = casemate_control::Signed {
                signature: &signed.signature,
                path: &signed.path,
                operation: signed.operation.as_str(),
                user: &signed.user,
                expiration: expiration.ok()?,
            };
            self.0.find_by_signature(signed).await
        })
    }

    fn wake<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let woken = self.0.wake(id).await;
            woken.map(|_| ()).map_err(|problem| {
                Error::rule("resume a sandbox", problem.to_string())
                    .on(id)
                    .into()
            })
        })
    }

    fn touch(&self, id: &SandboxId) {
        self.0.touch(id);
    }

    fn ended<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, ()> {
        Box::pin(self.0.until_ended(id))
    }
}
