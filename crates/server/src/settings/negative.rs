//! Accepts numbers below zero on the command line as values, so that the right error is reported.

use std::ffi::{OsStr, OsString};

/// Writes `--rooms-max -1` as `--rooms-max=-1`.
///
/// The command line's parser treats a word that begins with a hyphen as a flag, so it would report an
/// unknown flag instead of a bad number. It can treat every such word as a value, but then a flag
/// without its value would take the next flag as one.
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
