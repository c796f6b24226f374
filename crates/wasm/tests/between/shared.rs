//! Canisters of one module have one copy of its code. That is all that they share.

use crate::script::script;
use crate::stand::{each, kill, process};

pub(crate) fn nothing_but_its_code() {
    each(|stand| {
        let add = || script().add(1).counter().reply();
        for name in ["one", "two", "three"] {
            stand.puppet(name);
        }
        // From their folders, so that it is read code.
        stand.again();
        for name in ["one", "two", "three"] {
            // Whoever only looks needs no process.
            assert_eq!(process(stand, name), None);
            assert_eq!(stand.reply(name, add()), 1u32.to_le_bytes());
        }
        let codes = ["one", "two"].map(|name| stand.canisters().code(name).unwrap());
        assert!(std::sync::Arc::ptr_eq(&codes[0], &codes[1]));
        drop(codes);
        let two = process(stand, "two");
        if let Some(one) = process(stand, "one") {
            kill(one);
        }
        stand.canisters().remove("three").unwrap();
        while process(stand, "one").is_some() && two.is_some() {
            std::thread::yield_now();
        }
        assert_eq!(stand.reply("two", add()), 2u32.to_le_bytes());
        assert_eq!(process(stand, "two"), two);
        assert_eq!(stand.reply("one", add()), 2u32.to_le_bytes());
        assert!(stand.canisters().evict("two").unwrap());
        assert_eq!(stand.reply("two", add()), 3u32.to_le_bytes());
    });
}
