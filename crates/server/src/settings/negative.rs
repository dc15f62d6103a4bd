//! Numbers below zero on the command line: wrong for every setting, but values all the same.

use std::ffi::{OsStr, OsString};

/// Writes `--rooms-max -1` as `--rooms-max=-1`.
///
/// To the command line's parser a word that begins with a hyphen is a flag, and it would complain of
/// one that nobody has meant. It can be told to take any such word for a value, but then a flag
/// whose value was forgotten takes the next flag.
pub(super) fn join(args: &[OsString]) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(args.len());
    for arg in args {
        match joined.last_mut() {
            Some(flag) if is_negative(arg) && wants_value(flag) => {
                flag.push("=");
                flag.push(arg);
            }
            _ => joined.push(arg.clone()),
        }
    }
    joined
}

fn is_negative(arg: &OsStr) -> bool {
    matches!(arg.as_encoded_bytes(), [b'-', b'0'..=b'9' | b'.', ..])
}

fn wants_value(arg: &OsStr) -> bool {
    let arg = arg.as_encoded_bytes();
    arg.len() > 2 && arg.starts_with(b"--") && !arg.contains(&b'=')
}
