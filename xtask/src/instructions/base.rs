//! The commit that head is compared with, in a worktree of its own.

use crate::process::{run, stdout_of};
use crate::workspace::root;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file that names the commit, from the root of the workspace.
const FILE: &str = "bench/instructions-base";

/// A commit from which on the simulation can count.
const COUNTS: &str = "simulation/src/count.rs";

/// Reads which commit is the base.
pub fn named() -> Result<String> {
    let path = root().join(FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
    commit_in(&text).map(str::to_owned)
}

fn commit_in(text: &str) -> Result<&str> {
    let commit = text.trim();
    let is_id = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(is_id, "{FILE} must hold the 40 digits of one commit");
    Ok(commit)
}

/// An error says why nothing can be compared with this commit, though nothing is wrong with head.
pub fn is_there(commit: &str) -> Result<()> {
    is_in(root(), commit)
}

fn is_in(repository: &Path, commit: &str) -> Result<()> {
    let has = |object: &str| stdout_of(git(repository).args(["cat-file", "-e", object]));
    has("HEAD").context("git does not know this tree")?;
    has(&format!("{commit}^{{commit}}"))
        .with_context(|| format!("the base {commit} is not in this clone"))?;
    has(&format!("{commit}:{COUNTS}"))
        .with_context(|| format!("the base {commit} has no {COUNTS}"))?;
    Ok(())
}

/// The checked-out base, which is removed when this is dropped.
pub struct Base {
    repository: PathBuf,
    tree: PathBuf,
}

impl Base {
    /// Checks the commit out into the directory `tree`.
    pub fn check_out(commit: &str, tree: &Path) -> Result<Self> {
        Self::check_out_of(root(), commit, tree)
    }

    fn check_out_of(repository: &Path, commit: &str, tree: &Path) -> Result<Self> {
        let base = Self {
            repository: repository.to_owned(),
            tree: tree.to_owned(),
        };
        // A run that was killed has left its worktree behind.
        base.remove();
        run(git(repository)
            .args(["worktree", "add", "--quiet", "--force", "--detach"])
            .arg(tree)
            .arg(commit))
        .context("the base cannot be checked out")?;
        Ok(base)
    }

    /// The root of its workspace.
    pub fn root(&self) -> &Path {
        &self.tree
    }

    fn remove(&self) {
        if self.tree.exists() {
            let mut remove = git(&self.repository);
            remove.args(["worktree", "remove", "--force"]);
            // Whatever is left in the way lets the next checkout fail, which then says so.
            let _ = stdout_of(remove.arg(&self.tree));
        }
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        self.remove();
    }
}

fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(repository: &Path, file: &str) -> String {
        let path = repository.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file).unwrap();
        stdout_of(git(repository).args(["add", "."])).unwrap();
        let author = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let commit = ["commit", "--quiet", "--no-gpg-sign", "--message", file];
        stdout_of(git(repository).args(author).args(commit)).unwrap();
        let id = stdout_of(git(repository).args(["rev-parse", "HEAD"])).unwrap();
        id.trim().to_owned()
    }

    #[test]
    fn base_is_checked_out_while_it_is_used_and_again_where_a_run_was_killed() {
        let directory = tempfile::tempdir().unwrap();
        let (repository, tree) = (directory.path().join("a"), directory.path().join("base"));
        std::fs::create_dir(&repository).unwrap();
        stdout_of(git(&repository).args(["init", "--quiet"])).unwrap();
        let with = commit(&repository, COUNTS);
        let later = commit(&repository, "later.md");
        let base = Base::check_out_of(&repository, &with, &tree).unwrap();
        assert!(base.root().join(COUNTS).exists() && !base.root().join("later.md").exists());
        std::mem::forget(base);
        let base = Base::check_out_of(&repository, &later, &tree).unwrap();
        assert!(base.root().join("later.md").exists());
        drop(base);
        assert!(!tree.exists());
        let listed = stdout_of(git(&repository).args(["worktree", "list"])).unwrap();
        assert_eq!(listed.lines().count(), 1, "{listed}");
    }

    #[test]
    fn commit_that_cannot_be_compared_with_is_named_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let repository = directory.path().join("a");
        std::fs::create_dir(&repository).unwrap();
        stdout_of(git(&repository).args(["init", "--quiet"])).unwrap();
        let without = commit(&repository, "README.md");
        let with = commit(&repository, COUNTS);
        assert!(is_in(&repository, &with).is_ok());
        for (repository, commit, reason) in [
            (&*repository, &*without, "has no simulation/src/count.rs"),
            (&repository, &"7".repeat(40), "is not in this clone"),
            (directory.path(), &with, "git does not know this tree"),
        ] {
            let why = format!("{:#}", is_in(repository, commit).unwrap_err());
            assert!(why.contains(reason), "{why}");
        }
    }

    #[test]
    fn commit_is_forty_digits_and_nothing_else() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(commit_in(&format!("{id}\n")).unwrap(), id);
        for text in ["", "main", "--help", &id[1..], &format!("{id} {id}")] {
            assert!(commit_in(text).is_err(), "{text:?}");
        }
    }
}
