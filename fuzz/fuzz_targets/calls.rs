#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| casemate_wasm::fuzz::read("calls", bytes));
