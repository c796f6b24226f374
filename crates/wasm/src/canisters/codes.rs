//! Code of modules: compiled once, read once, and one for all canisters of a module.
//!
//! Sharing is safe: the compiled module is in a file that nobody can change any more, its maker and
//! its readers included, and each worker maps it for itself.
//!
//! A kept file is the bundle and then its CRC-32. Nobody waits for the disk to have it, so a power cut
//! may leave one of the right length with other bytes in it, and its code would be run; such a file is
//! as good as none, and the module is compiled again.

use crate::executor::Code;
use crate::store::{StoreError, write_whole};
use casemate_sys::pages::Sealed;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The length of a checksum, bytes.
const SUM: u64 = 4;
/// How many are remembered at least before those that nobody has are forgotten.
const LEAST: usize = 64;

/// The code that canisters of this folder have now, by the hash of its module.
#[derive(Default)]
pub(super) struct Codes(Mutex<HashMap<String, Weak<Code>>>);

impl Codes {
    /// The code of a module, if any canister has it.
    pub(super) fn get(&self, hash: &str) -> Option<Arc<Code>> {
        self.known().get(hash).and_then(Weak::upgrade)
    }

    /// From now on it is this one, unless somebody was quicker: then it is theirs.
    pub(super) fn share(&self, hash: &str, code: Arc<Code>) -> Arc<Code> {
        let mut known = self.known();
        if let Some(theirs) = known.get(hash).and_then(Weak::upgrade) {
            return theirs;
        }
        if known.len() >= LEAST && known.len() == known.capacity() {
            known.retain(|_, code| code.strong_count() > 0);
        }
        known.insert(hash.to_owned(), Arc::downgrade(&code));
        code
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Weak<Code>>> {
        // An entry is made in one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Code that was kept, if there is some and it is what was kept.
pub(super) fn read(path: &Path, hash: &str) -> Option<Code> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len().checked_sub(SUM)?;
    let mut sum = [0; SUM as usize];
    file.read_exact_at(&mut sum, length).ok()?;
    let bundle = Sealed::copy("module", &file, length).ok()?;
    let code = Code::of_kept(hash, bundle).ok()?;
    // Of the copy: what it is checked for can't change after that.
    let is_it = crc32fast::hash(code.bundle.bytes()) == u32::from_le_bytes(sum);
    is_it.then_some(code)
}

/// Keeps code for the next who opens a canister of its module.
pub(super) fn keep(path: &Path, code: &Code) -> Result<(), StoreError> {
    let bytes = code.bundle.bytes();
    let sum = crc32fast::hash(bytes).to_le_bytes();
    write_whole(path, &[bytes, &sum].concat(), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Principal;
    use crate::canisters::{Ask, Canisters, Options};
    use crate::executor::{Executor, InProcess};
    use crate::module::Limits;
    use std::path::PathBuf;

    const MODULE: &[u8] = br#"(module
        (import "ic0" "msg_reply" (func $reply))
        (func (export "canister_update touch") (call $reply)))"#;

    fn open(home: &Path, executor: &Arc<dyn Executor>) -> Canisters {
        Canisters::open(home, executor.clone(), Options::default()).unwrap()
    }

    fn install(canisters: &Canisters, name: &str) {
        let installed = canisters.install(name, MODULE, Vec::new(), Principal::ANONYMOUS);
        installed.unwrap().result.unwrap();
    }

    fn touch(canisters: &Canisters, name: &str) {
        let touched = canisters.call(name, Ask::new("touch", Vec::new()));
        touched.unwrap().result.unwrap();
    }

    /// The module as it came, and as it was compiled.
    fn files(home: &Path) -> [PathBuf; 2] {
        let modules = std::fs::read_dir(home.join("modules")).unwrap();
        let mut files: Vec<_> = modules.map(|file| file.unwrap().path()).collect();
        files.sort_by_key(|file| file.extension().is_none_or(|kind| kind != "wasm"));
        files.try_into().unwrap()
    }

    fn executor() -> Arc<dyn Executor> {
        Arc::new(InProcess::new(Limits::default()).unwrap())
    }

    /// They have one copy of its code; when one of them goes, the others keep it.
    #[test]
    fn canisters_of_a_module_share_its_code() {
        let (home, executor) = (tempfile::tempdir().unwrap(), executor());
        let canisters = open(home.path(), &executor);
        for name in ["one", "two", "three"] {
            install(&canisters, name);
        }
        drop(canisters);
        let canisters = open(home.path(), &executor);
        let codes = ["one", "two", "three"].map(|name| canisters.code(name).unwrap());
        assert!(codes.iter().all(|code| Arc::ptr_eq(code, &codes[0])));
        drop(codes);
        canisters.remove("one").unwrap();
        assert!(canisters.evict("two").unwrap());
        for name in ["three", "two"] {
            touch(&canisters, name);
        }
        let codes = ["two", "three"].map(|name| canisters.code(name).unwrap());
        assert!(Arc::ptr_eq(&codes[0], &codes[1]));
    }

    /// Whatever byte of it the disk changed, and wherever it was cut off, kept code isn't run.
    #[test]
    fn kept_code_that_was_damaged_is_compiled_again() {
        let (home, executor) = (tempfile::tempdir().unwrap(), executor());
        install(&open(home.path(), &executor), "one");
        let [_, kept] = files(home.path());
        let whole = std::fs::read(&kept).unwrap();
        let hash = kept.file_stem().unwrap().to_str().unwrap();
        assert!(read(&kept, hash).is_some());
        for at in (0..whole.len()).step_by(whole.len() / 40) {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&kept, &bytes).unwrap();
            assert!(read(&kept, hash).is_none(), "{at}");
            std::fs::write(&kept, &whole[..at]).unwrap();
            assert!(read(&kept, hash).is_none(), "{at}");
        }
        std::fs::write(&kept, vec![0; whole.len()]).unwrap();
        touch(&open(home.path(), &executor), "one");
        assert_eq!(std::fs::read(&kept).unwrap(), whole);
    }

    /// Another module in its place isn't run, and is said to be another; who installs it anew writes it.
    #[test]
    fn a_module_that_was_damaged_is_refused() {
        let (home, executor) = (tempfile::tempdir().unwrap(), executor());
        install(&open(home.path(), &executor), "one");
        let [module, kept] = files(home.path());
        std::fs::write(&module, "(module)").unwrap();
        std::fs::remove_file(&kept).unwrap();
        let canisters = open(home.path(), &executor);
        let said = canisters.code("one").err().unwrap().to_string();
        assert!(said.contains("another hash than its name"), "{said}");
        install(&canisters, "two");
        touch(&canisters, "one");
        assert_eq!(std::fs::read(&module).unwrap(), MODULE);
    }
}
