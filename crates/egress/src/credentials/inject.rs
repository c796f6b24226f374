//! A header that the proxy itself puts on a request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::rewrite::Rewriter;
use super::secret::Secret;
use super::store::Refusal;
use crate::http1::Headers;

/// A header made of a credential. What the sandbox sent under that name is removed first, in every
/// spelling, so that it can neither add to it nor choose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The header's name: `Authorization`.
    pub header: String,
    /// Its value.
    pub form: Form,
}

/// How a secret stands in a header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Between two texts, such as `Bearer ` and nothing.
    Text {
        /// What stands before it.
        before: String,
        /// What stands after it.
        after: String,
    },
    /// As the password of a user (RFC 7617).
    Basic {
        /// The user.
        user: String,
    },
}

impl Injection {
    fn value(&self, secret: &Secret) -> Zeroizing<Vec<u8>> {
        let secret = secret.expose();
        Zeroizing::new(match &self.form {
            Form::Text { before, after } => [before.as_bytes(), secret, after.as_bytes()].concat(),
            Form::Basic { user } => {
                let pair = Zeroizing::new([user.as_bytes(), b":", secret].concat());
                let encoded = Zeroizing::new(STANDARD.encode(&*pair));
                [b"Basic ", encoded.as_bytes()].concat()
            }
        })
    }
}

impl Rewriter<'_> {
    /// Takes off what the sandbox sent where a credential will be.
    pub fn strip(&self, headers: &mut Headers) {
        for (injection, _) in self.injections() {
            headers.remove(&injection.header);
        }
    }

    /// Puts on the headers of all credentials that belong there.
    pub fn inject(&self, headers: &mut Headers) -> Result<(), Refusal> {
        for (injection, secret) in self.injections() {
            headers.set(&injection.header, &injection.value(secret))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Binding, Credential, Credentials, Destination};
    use crate::host::Host;
    use crate::http1::{Limits, RequestHead};

    #[test]
    fn what_the_sandbox_sent_is_replaced() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nx-api-key: mine\r\nX_Api_Key: mine\r\n\r\n";
        let head = RequestHead::parse(head.as_bytes(), &Limits::default()).expect("a request");
        let host = Host::parse("a.example").expect("a host");
        let injected = |form, to| {
            let mut credentials = Credentials::default();
            let binding = Binding::new("a.example", 443, "/").expect("a binding");
            credentials.add(Credential {
                injection: Some(Injection {
                    header: "X-Api-Key".to_owned(),
                    form,
                }),
                ..Credential::new("it", Secret::new("s3cr3t").expect("memory"), vec![binding])
            });
            let mut headers = head.headers.clone();
            let rewriter = Rewriter::new(&credentials, to);
            rewriter.strip(&mut headers);
            rewriter.inject(&mut headers).expect("injected");
            let value = headers.only("x-api-key").expect("once");
            value.map(str::to_owned)
        };
        let text = Form::Text {
            before: "key ".to_owned(),
            after: ";".to_owned(),
        };
        let basic = Form::Basic {
            user: "u".to_owned(),
        };
        let to = Destination::new(&host, 443, "/");
        assert_eq!(injected(text.clone(), to).as_deref(), Some("key s3cr3t;"));
        let expected = format!("Basic {}", STANDARD.encode("u:s3cr3t"));
        assert_eq!(injected(basic, to), Some(expected));
        // Where it isn't bound, the header is the sandbox's own.
        let elsewhere = Destination::new(&host, 444, "/");
        let mut headers = head.headers.clone();
        Rewriter::new(&Credentials::default(), elsewhere).strip(&mut headers);
        assert!(headers.has("x-api-key"));
    }
}
