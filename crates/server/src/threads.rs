//! Explains why the kernel refuses another thread: which limit it is, and what to do about it.

use std::{fs, path::Path};

use rustix::process::{Resource, getrlimit};

use crate::{
    backend::LOOKUPS_MAX,
    control_group::{self, File},
};

/// The threads of a server besides one for each core: the main thread, and those of the internal
/// listener, signals, reloads, the log, and the start lines until somebody has read them.
pub const BESIDE_CORES: usize = 6;

/// The threads of a server that fetches keys of tokens: the one that does, and those that look up the names of the
/// other side.
pub const BACKEND: usize = 1 + LOOKUPS_MAX;

/// The file has the same name in cgroup v1 and v2. Without a limit it contains `max`, which does not
/// parse as a number.
const LIMIT: File = File {
    controller: "pids",
    v1: "pids.max",
    v2: "pids.max",
};

/// Names the limit that leaves too few threads for a server with this many cores, and the remedy.
pub fn shortage(cores: usize) -> String {
    let user = getrlimit(Resource::Nproc).current;
    shortage_under(Path::new("/"), cores + BESIDE_CORES, user)
}

/// The same for the machine whose `proc` and `sys` are under `root`; `user` is the user's limit.
fn shortage_under(root: &Path, needed: usize, user: Option<u64>) -> String {
    let group = control_group::texts(root, &LIMIT)
        .into_iter()
        .find_map(|(group, text)| {
            let max: usize = text.parse().ok()?;
            (others_of(&group, root) + needed > max).then_some((group, max))
        });
    let limit = match (group, user) {
        (Some((group, max)), _) => format!(
            "The limit pids.max of its control group {} is {max}: raise it (--pids-limit of a \
             container, TasksMax= of a systemd unit, podPidsLimit of a kubelet)",
            group.display()
        ),
        (None, Some(max)) => format!(
            "RLIMIT_NPROC allows this user {max} threads in all processes together, and other \
             processes of the user may use some of them: raise it (ulimit -u, LimitNPROC= of a \
             systemd unit)"
        ),
        (None, None) => "Neither a control group nor the user is near a limit: check \
                         kernel.threads-max, kernel.pid_max and the memory of this machine"
            .to_owned(),
    };
    format!("this server needs {needed} threads. {limit}, or lower --cores")
}

/// The threads in a group that do not belong to this process. If threads end during the count, the
/// result is too high, never too low, so that a full group is always detected.
fn others_of(group: &Path, root: &Path) -> usize {
    let current = fs::read_to_string(group.join("pids.current"));
    let current = current.ok().and_then(|text| text.trim().parse().ok());
    let own = fs::read_dir(root.join("proc/self/task")).map_or(0, Iterator::count);
    current.unwrap_or(0_usize).saturating_sub(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the message for a process with one thread in its own group `/a/b`, given these files.
    #[track_caller]
    fn check(files: &[(&str, &str)], user: Option<u64>, words: &[&str]) {
        let root = tempfile::tempdir().unwrap();
        let own = [
            ("proc/self/task/1/comm", "hubbub"),
            ("proc/self/cgroup", "8:pids:/p\n0::/a/b\n"),
        ];
        for (path, text) in own.iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let told = shortage_under(root.path(), 7, user);
        for word in [&["7 threads", "--cores"], words].concat() {
            assert!(told.contains(word), "{word} is not in: {told}");
        }
    }

    #[test]
    fn shortage_names_the_group_on_the_way_up_that_is_full() {
        let own = ("sys/fs/cgroup/a/b/pids.max", "max\n");
        let above = ("sys/fs/cgroup/a/pids.max", "100\n");
        let current = ("sys/fs/cgroup/a/pids.current", "96\n");
        let words = ["cgroup/a is 100:", "TasksMax"];
        check(&[own, above, current], Some(5), &words);
        let own = ("sys/fs/cgroup/a/b/pids.max", "3\n");
        check(&[own], None, &["cgroup/a/b is 3:", "--pids-limit"]);
        let v1 = ("sys/fs/cgroup/pids/p/pids.max", "6\n");
        check(&[v1], None, &["pids/p is 6:"]);
    }

    #[test]
    fn shortage_names_the_users_limit_where_no_group_is_full() {
        let roomy = [
            ("sys/fs/cgroup/a/pids.max", "100\n"),
            ("sys/fs/cgroup/a/pids.current", "94\n"),
        ];
        check(
            &roomy,
            Some(5),
            &["RLIMIT_NPROC allows this user 5 ", "ulimit -u"],
        );
        check(&roomy, None, &["kernel.threads-max", "kernel.pid_max"]);
    }
}
