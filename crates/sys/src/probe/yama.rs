//! Yama's restriction of ptrace. `Documentation/admin-guide/LSM/Yama.rst`.

/// Who may trace whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// No Yama in this kernel: as value 0.
    None,
    /// 0: any process of the same user.
    SameUser,
    /// 1: only descendants.
    Descendants,
    /// 2: only with `CAP_SYS_PTRACE`.
    Capable,
    /// 3: nobody, until the next boot; `pidfd_getfd` is refused too.
    Nobody,
    /// A value that this version doesn't know.
    Other(u32),
}

/// Reads `kernel.yama.ptrace_scope`.
pub fn probe() -> Scope {
    let read = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    read.ok()
        .and_then(|text| scope(&text))
        .unwrap_or(Scope::None)
}

fn scope(text: &str) -> Option<Scope> {
    Some(match text.trim().parse().ok()? {
        0 => Scope::SameUser,
        1 => Scope::Descendants,
        2 => Scope::Capable,
        3 => Scope::Nobody,
        other => Scope::Other(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read() {
        assert_eq!(scope("1\n"), Some(Scope::Descendants));
        assert_eq!(scope("3"), Some(Scope::Nobody));
        assert_eq!(scope("9"), Some(Scope::Other(9)));
        assert_eq!(scope(""), None);
    }
}
