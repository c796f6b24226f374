//! Carriers: files in a workspace that the host would later execute or trust.
//!
//! A program in a sandbox may write the workspace, and the person outside opens that workspace
//! in an editor, runs git in it, or enters it with a shell. A file that any of these would act
//! on carries code out of the sandbox, so it is protected even inside writable paths.

/// A name that is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carrier {
    /// A file or folder name, without a slash.
    pub path: &'static str,
    /// Where it would be acted on.
    pub place: Place,
    /// Who would act on it.
    pub trusted_by: &'static str,
}

/// In which folders of a workspace a name is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the workspace's root, and at the root of a repository in it.
    Root,
    /// In every folder that somebody may open or enter.
    Anywhere,
}

const fn root(path: &'static str, trusted_by: &'static str) -> Carrier {
    Carrier {
        path,
        place: Place::Root,
        trusted_by,
    }
}

const fn anywhere(path: &'static str, trusted_by: &'static str) -> Carrier {
    Carrier {
        path,
        place: Place::Anywhere,
        trusted_by,
    }
}

/// Names inside a git folder (`.git`, or a bare repository) that git acts on (githooks(5),
/// git-config(1), gitrepository-layout(5)). `commondir` redirects to another configuration.
pub const GIT: &[&str] = &["hooks", "config", "config.worktree", "commondir", "gitdir"];

/// Names that are protected where they exist at the start, and whose creation at the workspace's
/// root is undone.
pub const NAMES: &[Carrier] = &[
    anywhere(
        ".vscode",
        "Visual Studio Code: tasks and settings that run programs",
    ),
    anywhere(".idea", "JetBrains editors: run configurations"),
    anywhere(".zed", "Zed: tasks and settings"),
    anywhere(".cursor", "Cursor: rules and MCP servers"),
    anywhere(".claude", "Claude Code: hooks and settings"),
    anywhere(".mcp.json", "agents: MCP servers to start"),
    anywhere(
        ".devcontainer",
        "development containers: commands on the host",
    ),
    anywhere(".envrc", "direnv: runs when the folder is entered"),
    anywhere(".husky", "husky: git hooks"),
    root(".pre-commit-config.yaml", "pre-commit: git hooks"),
    root(".github", "GitHub: workflows"),
    root(".gitlab-ci.yml", "GitLab: CI"),
    root(".circleci", "CircleCI: CI"),
    root(".gitmodules", "git: addresses that are fetched from"),
    root(".bashrc", "bash"),
    root(".bash_profile", "bash"),
    root(".bash_login", "bash"),
    root(".bash_logout", "bash"),
    root(".profile", "login shells"),
    root(".zshrc", "zsh"),
    root(".zshenv", "zsh"),
    root(".zprofile", "zsh"),
    root(".zlogin", "zsh"),
    root(".gitconfig", "git"),
    anywhere(".npmrc", "npm: registries and scripts"),
    anywhere(".yarnrc.yml", "yarn: its own program's path"),
    anywhere(".cargo", "cargo: linkers and runners"),
];

/// The carrier of this name, if it is one.
pub fn find(name: &[u8]) -> Option<&'static Carrier> {
    NAMES.iter().find(|carrier| carrier.path.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_components() {
        assert!(
            NAMES
                .iter()
                .all(|carrier| !carrier.path.contains('/') && carrier.path != ".git")
        );
    }
}
