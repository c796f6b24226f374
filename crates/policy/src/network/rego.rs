//! `rego`: rules of the policy's author in Rego.

use super::model::Rego;
use crate::fields::Fields;
use crate::node::Value;
use crate::position::Located;
use crate::report::Report;

pub(super) fn read(document: &Fields<'_>, report: &mut Report) -> Option<Located<Rego>> {
    let node = document.get("rego")?;
    if let Value::Map(_) = node.value {
        let fields = document.section("rego", report)?;
        let hint = "give the path of a `.rego` file, relative to the policy";
        let file = fields.needed_text("file", hint, report)?;
        let path = report.resolve(file.value, file.position);
        return Some(Located::new(Rego::File(path), file.position));
    }
    let module = node.as_string().filter(|text| !text.trim().is_empty());
    if module.is_none() {
        let found = node.found();
        report.add_with_hint(
            node.position,
            format!("`rego` must be a module or `{{file: PATH}}`, found {found}"),
            "write the module as a block: `rego: |`",
        );
    }
    module.map(|module| Located::new(Rego::Inline(module.to_owned()), node.position))
}
