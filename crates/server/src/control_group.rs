//! Reads files of this process's control groups (cgroups(7)), version 1 or 2.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The name of a controller's file in version 1 and in version 2.
pub(crate) struct File {
    pub(crate) controller: &'static str,
    pub(crate) v1: &'static str,
    pub(crate) v2: &'static str,
}

/// The text of this file in this process's group and in all groups above it, each with the group's
/// directory, on the machine whose `proc` and `sys` are under `root`. In a container the path may
/// exist only on the host; then the root of the mount is this group.
pub(crate) fn texts(root: &Path, file: &File) -> Vec<(PathBuf, String)> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (mount, name) = match controllers {
            "" => ("sys/fs/cgroup".to_owned(), file.v2),
            _ if controllers.split(',').any(|it| it == file.controller) => {
                (format!("sys/fs/cgroup/{}", file.controller), file.v1)
            }
            _ => continue,
        };
        let mount = root.join(mount);
        let group = mount.join(path.trim_start_matches('/'));
        let up = group.ancestors().take_while(|at| at.starts_with(&mount));
        found.extend(up.filter_map(|at| {
            let text = fs::read_to_string(at.join(name)).ok()?;
            Some((at.to_owned(), text.trim().to_owned()))
        }));
    }
    found
}
