//! `dns`: names that are resolved, or not, whatever the entries say.

use super::host;
use crate::fields::Fields;
use crate::position::Located;
use crate::report::Report;

/// The most names in one list.
const MAX_NAMES: usize = 4096;

/// `dns.allow` and `dns.deny`.
pub(super) fn read(
    document: &Fields<'_>,
    report: &mut Report,
) -> (Vec<Located<String>>, Vec<Located<String>>) {
    let Some(fields) = document.section("dns", report) else {
        return (Vec::new(), Vec::new());
    };
    // Whoever may resolve any name can talk to whoever serves that name; so what is allowed has to
    // hold to the rules for hosts. What is denied may be as broad as it likes.
    let allow = list(&fields, "allow", host::name, report);
    let deny = list(&fields, "deny", host::selector, report);
    (allow, deny)
}

fn list(
    fields: &Fields<'_>,
    field: &str,
    checked: fn(&str) -> Result<String, host::Objection>,
    report: &mut Report,
) -> Vec<Located<String>> {
    let path = fields.path_of(field);
    let texts = fields.texts(field, MAX_NAMES, report).into_iter();
    texts
        .filter(|text| !text.value.is_empty())
        .filter_map(|text| match checked(text.value) {
            Ok(name) => Some(Located::new(name, text.position)),
            Err(objection) => {
                objection.tell(&text, &path, report);
                None
            }
        })
        .collect()
}
