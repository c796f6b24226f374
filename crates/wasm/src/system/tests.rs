use super::*;

#[test]
fn each_name_stands_once_in_the_table() {
    for (index, function) in FUNCTIONS.iter().enumerate() {
        let first = FUNCTIONS.iter().position(|f| f.name == function.name);
        assert_eq!(first, Some(index), "{} stands twice", function.name);
    }
    assert!(find("msg_reply").is_some());
    assert!(find("call_simple").is_none());
}

#[test]
fn pointers_follow_the_guest_and_numbers_do_not() {
    let accept = find("msg_cycles_accept128").unwrap();
    use Number::{I32, I64};
    assert_eq!(accept.params(false).collect::<Vec<_>>(), [I64, I64, I32]);
    assert_eq!(accept.params(true).collect::<Vec<_>>(), [I64, I64, I64]);
    let perform = find("call_perform").unwrap();
    assert_eq!(perform.results(true).collect::<Vec<_>>(), [I32]);
}

#[test]
fn only_legacy_forms_are_missing_in_64_bit_guests() {
    let missing: Vec<_> = FUNCTIONS.iter().filter(|f| !f.exists(true)).collect();
    assert_eq!(missing.len(), 10);
    for function in missing {
        assert!(!function.params.contains(&Value::Pointer));
        assert!(!function.results.contains(&Value::Pointer));
    }
}

/// The code that replaces these asks nobody, which is right only as long as this holds.
#[test]
fn stable_memory_is_legal_everywhere() {
    let native: Vec<_> = FUNCTIONS
        .iter()
        .filter(|f| f.category == Category::Native)
        .collect();
    assert_eq!(native.len(), 8);
    for function in native {
        assert!(function.name.starts_with("stable"));
        for context in Context::ALL {
            assert!(function.is_legal(context), "{}", function.name);
        }
    }
}

#[test]
fn nothing_that_lasts_is_legal_in_a_query() {
    let lasting = [
        "certified_data_set",
        "global_timer_set",
        "cycles_burn128",
        "call_cycles_add128",
        "call_new",
        "msg_cycles_accept128",
    ];
    for name in lasting {
        let function = find(name).unwrap();
        for context in [Context::Query, Context::Transform, Context::Inspect] {
            assert!(!function.is_legal(context), "{name} in {}", context.name());
        }
        assert!(function.is_legal(Context::Update));
    }
}

#[test]
fn contexts_have_names_of_their_own() {
    let mut names: Vec<_> = Context::ALL.map(Context::name).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Context::ALL.len());
    assert!(Context::ALL.iter().all(|c| Contexts::every().contains(*c)));
}

/// The table as text, for whoever reads it and doesn't link it (`cargo xtask wasm-rows`).
/// `CASEMATE_BLESS=1` writes it.
#[test]
fn the_matrix_is_the_table() {
    const LETTERS: [&str; 16] = [
        "s", "I", "G", "U", "RQ", "NRQ", "TQ", "CQ", "Ry", "Rt", "CRy", "CRt", "C", "CC", "F", "T",
    ];
    let mut text = "Which function of ic0 may be called where:\n".to_owned();
    for (letters, context) in LETTERS.iter().zip(Context::ALL) {
        text += &format!("  {letters:3}  {}\n", context.name());
    }
    let line = |name: &str, cells: [&str; 16]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>3}")).collect();
        format!("{name:36}{cells}\n")
    };
    text += &format!("\n{}", line("", LETTERS));
    for function in FUNCTIONS {
        let cells = Context::ALL.map(|context| if function.is_legal(context) { "x" } else { "." });
        text += &line(function.name, cells);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/system/matrix.txt");
    if std::env::var_os("CASEMATE_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == text,
        "{path} is old\nhint: CASEMATE_BLESS=1 cargo test -p casemate-wasm the_matrix_is_the_table"
    );
}
