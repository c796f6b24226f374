//! The script that an interpreter runs, as far as its arguments tell.
//!
//! This is advice and no wall: an interpreter also runs what its environment, its standard input,
//! or the script tells it to, and a process can write over its own arguments. What is found here
//! is right for programs that don't lie.

/// An interpreter and those of its options that matter for finding the script.
struct Interpreter {
    /// Names without a version.
    names: &'static [&'static str],
    /// Options with which the program comes from elsewhere: an argument, a module, the input.
    other: &'static [&'static str],
    /// Options whose value is the next argument.
    valued: &'static [&'static str],
    /// A word that stands before the script.
    verb: Option<&'static str>,
}

const INTERPRETERS: &[Interpreter] = &[
    Interpreter {
        names: &["python", "pypy"],
        other: &["-c", "-m", "-"],
        valued: &["-W", "-X", "--check-hash-based-pycs"],
        verb: None,
    },
    Interpreter {
        names: &["node", "nodejs"],
        other: &[
            "-e",
            "--eval",
            "-p",
            "--print",
            "-pe",
            "-",
            "-i",
            "--interactive",
        ],
        valued: &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--experimental-loader",
            "-C",
            "--conditions",
        ],
        verb: None,
    },
    Interpreter {
        names: &["bun"],
        other: &["-e", "--eval", "-p", "--print", "-"],
        valued: &["-r", "--preload", "--require", "--import", "--cwd"],
        verb: Some("run"),
    },
    Interpreter {
        names: &["deno"],
        other: &["-"],
        valued: &[
            "-c",
            "--config",
            "--import-map",
            "--lock",
            "-L",
            "--log-level",
        ],
        verb: Some("run"),
    },
    Interpreter {
        names: &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish"],
        other: &["-c", "-s", "-"],
        valued: &["-o", "+o", "-O", "+O", "--rcfile", "--init-file"],
        verb: None,
    },
    Interpreter {
        names: &["ruby"],
        other: &["-e", "-"],
        valued: &["-I", "-r", "-C", "-E", "--encoding"],
        verb: None,
    },
    Interpreter {
        names: &["perl"],
        other: &["-e", "-E", "-"],
        valued: &["-I"],
        verb: None,
    },
    Interpreter {
        names: &["php"],
        other: &["-r", "-B", "-R", "-S", "-a", "-"],
        valued: &["-d", "-c", "-z"],
        verb: None,
    },
    Interpreter {
        names: &["lua", "luajit"],
        other: &["-", "-i"],
        valued: &["-e", "-l"],
        verb: None,
    },
];

/// The script's path: absolute, without `.` and `..`. `path` is that of the executable and `cwd`
/// the folder that the process works in, which is read when the script was named relative to it.
pub fn script<'a>(
    path: &[u8],
    mut argv: impl Iterator<Item = &'a [u8]>,
    cwd: impl FnOnce() -> Option<Vec<u8>>,
) -> Option<Box<[u8]>> {
    let called = argv.next()?;
    // A program of many names is the one that it was called by.
    let own = match base(path) {
        b"busybox" | b"toybox" => base(called),
        own => own,
    };
    let script = INTERPRETERS.iter().find(|one| one.is(own))?.script(argv)?;
    match script.starts_with(b"/") {
        true => Some(plain(script)),
        false => Some(plain(&[&cwd()?, &b"/"[..], script].concat())),
    }
}

impl Interpreter {
    /// `python3.11` is python; `pythonista` is not.
    fn is(&self, name: &[u8]) -> bool {
        let version = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
        self.names.iter().any(|own| {
            let rest = name.strip_prefix(own.as_bytes());
            rest.is_some_and(|rest| rest.iter().all(version))
        })
    }

    fn script<'a>(&self, mut arguments: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
        let mut verb = self.verb;
        while let Some(argument) = arguments.next() {
            match argument {
                b"--" => return arguments.next(),
                b"" => return None,
                option if matches!(option[0], b'-' | b'+') => {
                    if self.has(self.other, option) {
                        return None;
                    }
                    if self.has(self.valued, option) {
                        arguments.next()?;
                    }
                }
                word if verb.is_some_and(|verb| verb.as_bytes() == word) => verb = None,
                script => return Some(script),
            }
        }
        None
    }

    /// Long options stand by themselves. Of short ones several may share a dash; one that takes
    /// a value takes the next argument only if it is the last of them.
    fn has(&self, options: &[&str], given: &[u8]) -> bool {
        if options.iter().any(|option| option.as_bytes() == given) {
            return true;
        }
        if given.starts_with(b"--") || given.len() < 2 {
            return false;
        }
        for (index, letter) in given.iter().enumerate().skip(1) {
            let is = |options: &[&str]| {
                options
                    .iter()
                    .any(|one| one.as_bytes() == [given[0], *letter])
            };
            let last = index + 1 == given.len();
            if is(self.valued) {
                // The rest of the argument is its value.
                return last && is(options);
            }
            if is(options) {
                return true;
            }
        }
        false
    }
}

fn base(path: &[u8]) -> &[u8] {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    // A login shell.
    name.strip_prefix(b"-").unwrap_or(name)
}

/// Takes `.`, `..` and empty parts out. Symbolic links are not followed: their targets are not
/// what was run, but what is there now.
fn plain(path: &[u8]) -> Box<[u8]> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut plain = Vec::with_capacity(path.len());
    for part in parts {
        plain.push(b'/');
        plain.extend(part);
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The script of a command line, in the folder /w.
    fn of(path: &str, line: &str) -> Option<String> {
        let argv = line.split(' ').map(str::as_bytes);
        let found = script(path.as_bytes(), argv, || Some(b"/w".to_vec()))?;
        Some(String::from_utf8(found.into()).unwrap())
    }

    #[track_caller]
    fn is(path: &str, line: &str, script: &str) {
        assert_eq!(of(path, line).as_deref(), Some(script), "{line}");
    }

    #[track_caller]
    fn none(path: &str, line: &str) {
        assert_eq!(of(path, line), None, "{line}");
    }

    #[test]
    fn python() {
        const PYTHON: &str = "/usr/bin/python3.11";
        is(PYTHON, "python3 run.py -c x", "/w/run.py");
        is(PYTHON, "python3 -u -W ignore /a/./b/../run.py", "/a/run.py");
        is(PYTHON, "python3 -Wignore -Xdev run.py", "/w/run.py");
        is(PYTHON, "python3 -uW ignore run.py", "/w/run.py");
        is(PYTHON, "python3 -- -c", "/w/-c");
        for line in [
            "python3",
            "python3 -c run.py",
            "python3 -m http.server",
            "python3 -Ic x",
            "python3 - x",
            "python3 -cx y",
            "python3 -W",
        ] {
            none(PYTHON, line);
        }
    }

    #[test]
    fn node() {
        const NODE: &str = "/opt/node/bin/node";
        is(
            NODE,
            "node --max-old-space-size=99 -r ./hook.js app.js",
            "/w/app.js",
        );
        none(NODE, "node -e 1");
        none(NODE, "node --eval 1");
    }

    #[test]
    fn shells() {
        is("/bin/bash", "bash -euo pipefail ../run.sh", "/run.sh");
        is("/bin/bash", "bash +o posix run.sh", "/w/run.sh");
        is("/bin/busybox", "sh /etc/../../x", "/x");
        none("/bin/busybox", "ls /etc");
        none("/bin/dash", "sh -ec true");
        none("/bin/bash", "-bash");
    }

    #[test]
    fn others() {
        is(
            "/usr/bin/perl",
            "perl -w -I lib -Mstrict run.pl",
            "/w/run.pl",
        );
        is("/usr/bin/ruby3.1", "ruby -rjson run.rb", "/w/run.rb");
        is("/usr/bin/deno", "deno run --allow-net app.ts", "/w/app.ts");
        none("/usr/bin/perl", "perl -ne print x");
        none("/usr/bin/pythonista", "python run.py");
        none("/usr/bin/curl", "curl x");
    }

    #[test]
    fn no_folder_no_script() {
        let argv = || ["sh", "x"].into_iter().map(str::as_bytes);
        assert_eq!(script(b"/bin/sh", argv(), || None), None);
        assert_eq!(script(b"/bin/sh", [].into_iter(), || None), None);
    }
}
