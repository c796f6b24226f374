//! How many mappings a worker has after many updates.

use super::stand;
use casemate_wasm::call::Failure;

/// Writes to every tenth page, on the whole, of 64 MiB: other ones each time.
const SCATTERED: &str = r#"(module
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "msg_reply" (func $reply))
    (memory 1024 1024)
    (global $seed (mut i32) (i32.const 1))
    (global $sum (mut i64) (i64.const 0))
    (func $next (result i32)
        (global.set $seed (i32.add
            (i32.mul (global.get $seed) (i32.const 1103515245)) (i32.const 12345)))
        (i32.shr_u (global.get $seed) (i32.const 18)))
    (func $scatter (local $i i32) (local $at i32)
        (loop
            (local.set $at (i32.shl (call $next) (i32.const 12)))
            (i64.store (local.get $at) (i64.add (i64.load (local.get $at)) (i64.const 1)))
            (global.set $sum (i64.add (global.get $sum) (i64.const 1)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 1638)))))
    (func (export "canister_update scatter") (call $scatter))
    (func (export "canister_update scatter_and_trap") (call $scatter) unreachable)
    (func (export "canister_query sums") (local $i i32) (local $sum i64)
        (loop
            (local.set $sum (i64.add (local.get $sum)
                (i64.load (i32.shl (local.get $i) (i32.const 12)))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 16384))))
        (call $scatter)
        (i64.store (i32.const 8) (local.get $sum))
        (call $append (i32.const 8) (i32.const 8))
        (call $reply))
    (func (export "canister_init")))"#;

const MOST: usize = 4096;

fn mappings(process: Option<u32>) -> std::io::Result<usize> {
    let process = process.map_or("self".to_owned(), |id| id.to_string());
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps"))?;
    Ok(maps.lines().count())
}

pub(crate) fn a_worker_has_few_mappings_after_many_updates() {
    stand::each(SCATTERED, |stand| {
        let count = |stand: &mut stand::Stand| {
            let process = stand.sides().0.process();
            match mappings(process) {
                Ok(found) => assert!((20..=MOST).contains(&found), "{found}"),
                // A worker's are root's to see.
                Err(why) => assert!(!rustix::process::geteuid().is_root(), "{why}"),
            }
        };
        for _ in 0..100 {
            assert_eq!(stand.update_without_answer("scatter"), None);
        }
        count(stand);
        for _ in 0..2 {
            for _ in 0..3 {
                let failure = stand.update("scatter_and_trap").unwrap_err();
                assert!(matches!(failure, Failure::Trap { .. }), "{failure}");
                let sums = super::numbers(stand.query("sums").unwrap());
                assert_eq!(sums, [163_800]);
            }
            count(stand);
            stand.reload();
        }
        assert_eq!(stand.update_without_answer("scatter"), None);
        let sums = super::numbers(stand.query("sums").unwrap());
        assert_eq!(sums, [165_438]);
        count(stand);
    });
}
