//! Finds how much memory this process may use: the machine's, or less if its control group limits it.

use std::{fs, path::Path};

use crate::control_group::{self, File};

/// The memory in bytes; `None` if the kernel does not report it.
pub fn limit() -> Option<usize> {
    limit_under(Path::new("/"))
}

/// The same for the machine whose `proc` and `sys` are under this path.
fn limit_under(root: &Path) -> Option<usize> {
    let machine = machine(&root.join("proc/meminfo"));
    groups(root).into_iter().chain(machine).min()
}

/// The line `MemTotal` of proc_meminfo(5), in KiB.
fn machine(meminfo: &Path) -> Option<usize> {
    let text = fs::read_to_string(meminfo).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The limits of this process's control group and of all above it.
fn groups(root: &Path) -> Vec<usize> {
    const LIMIT: File = File {
        controller: "memory",
        v1: "memory.limit_in_bytes",
        v2: "memory.max",
    };
    let texts = control_group::texts(root, &LIMIT).into_iter();
    // `max` means that there is no limit, and does not parse as a number.
    texts.filter_map(|(_, text)| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: usize = 1 << 30;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<usize>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(limit_under(root.path()), expected, "{files:?}");
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:        4194304 kB\nMemFree:          100 kB\n",
    );

    #[test]
    fn memory_is_the_machines_where_no_group_has_less() {
        check(&[], None);
        check(&[MEMINFO], Some(4 * GIB));
        let v2 = ("proc/self/cgroup", "0::/a.slice/b.service\n");
        check(&[MEMINFO, v2], Some(4 * GIB));
        let unlimited = ("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
        check(&[MEMINFO, v2, unlimited], Some(4 * GIB));
        let v1 = ("proc/self/cgroup", "4:memory:/x\n0::/x\n");
        let unlimited = (
            "sys/fs/cgroup/memory/x/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        check(&[MEMINFO, v1, unlimited], Some(4 * GIB));
    }

    #[test]
    fn memory_is_the_least_that_a_group_on_the_way_up_allows() {
        let v2 = ("proc/self/cgroup", "0::/a.slice/b.service\n");
        let own = ("sys/fs/cgroup/a.slice/b.service/memory.max", "2147483648\n");
        let above = ("sys/fs/cgroup/a.slice/memory.max", "1073741824\n");
        check(&[MEMINFO, v2, own], Some(2 * GIB));
        check(&[MEMINFO, v2, own, above], Some(GIB));
        // This is a container that sees its own group as the root.
        let root = ("sys/fs/cgroup/memory.max", "1073741824\n");
        check(&[MEMINFO, v2, root], Some(GIB));
        let v1 = ("proc/self/cgroup", "5:cpu,cpuacct:/y\n4:memory:/docker/x\n");
        let root = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
        check(&[MEMINFO, v1, root], Some(GIB));
    }
}
