//! What the kernel reports about a process: descriptors, processor time, memory.

use std::{fs, net::TcpStream, thread, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this process, and the servers that it starts, this many descriptors.
pub fn allow_descriptors(needed: usize) {
    let limit = getrlimit(Resource::Nofile);
    let needed = Some(needed as u64);
    assert!(
        limit.maximum.is_none() || limit.maximum >= needed,
        "raise the hard limit of descriptors (ulimit -Hn) to {needed:?}"
    );
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).unwrap();
}

/// The number of its open descriptors.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The same, once nothing changes any more.
pub fn descriptors_at_rest(pid: u32) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = descriptors(pid);
        if now == before {
            return now;
        }
        before = now;
        thread::sleep(Duration::from_millis(200));
    }
}

/// Whether all of its threads are stopped (proc_pid_stat(5)).
pub fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.into_iter().all(|thread| {
        let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.trim_start().starts_with('T')
    })
}

/// Its processor time, in clock ticks of a hundredth of a second.
pub fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in parentheses, may contain spaces.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<_> = fields.split_whitespace().collect();
    // utime and stime, fields 14 and 15 of proc_pid_stat(5), which begin to count before the name.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Whether it runs (R), sleeps (S) or is stopped (T): a letter of proc_pid_stat(5).
pub fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.chars().next().unwrap()
}

/// Its present resident memory, in bytes.
pub fn memory(pid: u32) -> usize {
    memory_line(pid, "VmRSS:")
}

/// The most resident memory that it has had so far, in bytes.
pub fn memory_peak(pid: u32) -> usize {
    memory_line(pid, "VmHWM:")
}

/// The most address space that it has had so far, in bytes, used or not.
pub fn address_space_peak(pid: u32) -> usize {
    memory_line(pid, "VmPeak:")
}

fn memory_line(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

/// The number of bytes that have arrived at the other end of a stream, a socket of this machine
/// over IPv4, and that its owner has not read.
pub fn unread_by_peer(stream: &TcpStream) -> usize {
    let own = format!(":{:04X}", stream.local_addr().unwrap().port());
    let peer = format!(":{:04X}", stream.peer_addr().unwrap().port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    // Its columns are described in proc_net_tcp(5): number, local address, remote address, state,
    // bytes to send and bytes to read.
    let lines = table.lines().map(|line| line.split_whitespace());
    let mut rows = lines.map(|columns| columns.collect::<Vec<_>>());
    let row = rows.find(|row| row[1].ends_with(&peer) && row[2].ends_with(&own));
    let row = row.expect("the other end is open");
    let (_, unread) = row[4].split_once(':').unwrap();
    usize::from_str_radix(unread, 16).unwrap()
}
