//! What is kept, for how long, how much of it, and what it comes to.

use std::{fs, path::Path, sync::Arc};

use super::*;
use crate::settings::{Settings, Sources};

fn settings(flags: &[&str]) -> Settings {
    let args: Vec<_> = ["hubbub"].iter().chain(flags).map(Into::into).collect();
    let sources = Sources {
        args,
        variables: Vec::new(),
        read: &|_| Err(std::io::ErrorKind::NotFound.into()),
    };
    Settings::load(&sources).unwrap().settings
}

/// With these flags beside those of the directory.
fn open_in(dir: &Path, flags: &[&str]) -> (Arc<Moderation>, State) {
    let dir = format!("--state-dir={}", dir.display());
    let settings = settings(&[&[&*dir], flags].concat());
    let state = State::open(&settings).unwrap().unwrap();
    (Moderation::open(&settings, Some(&state)).unwrap(), state)
}

fn in_memory(flags: &[&str]) -> Arc<Moderation> {
    let settings = settings(&[&["--moderation=memory"], flags].concat());
    Moderation::open(&settings, None).unwrap()
}

fn make(moderation: &Moderation, change: Change) -> Result<(), NotChanged> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(moderation.change(change))
}

fn block(user: &str, until: i64) -> Change {
    let user = user.into();
    Change::Block { user, until }
}

fn mute(user: &str, room: &str, until: i64) -> Change {
    let (user, room) = (user.into(), room.into());
    Change::Mute { user, room, until }
}

fn revoke(user: &str, before: i64, until: i64) -> Change {
    let user = user.into();
    let revocation = Revocation { before, until };
    Change::Revoke { user, revocation }
}

#[test]
fn change_is_refused_where_nothing_keeps_it() {
    let nowhere = Moderation::open(&settings(&[]), None).unwrap();
    let refused = make(&nowhere, block("ann", FOREVER)).unwrap_err();
    assert_eq!(refused, NotChanged::NotKept);
    for word in ["state_dir", "moderation = \"memory\""] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    assert!(!nowhere.is_blocked("ann"));
    // For development there is no directory.
    let dev = Moderation::open(&settings(&["--dev"]), None).unwrap();
    make(&dev, block("ann", FOREVER)).unwrap();
    assert!(dev.is_blocked("ann"));
}

#[test]
fn block_holds_until_its_time_or_until_it_is_taken_back() {
    let moderation = in_memory(&[]);
    let now_s = now_s();
    for (until, is_blocked) in [
        (now_s + 60, true),
        (FOREVER, true),
        (now_s, false),
        (0, false),
    ] {
        make(&moderation, block("ann", until)).unwrap();
        assert_eq!(moderation.is_blocked("ann"), is_blocked, "{until}");
        assert!(!moderation.is_blocked("bob"));
    }
    make(&moderation, block("ann", FOREVER)).unwrap();
    make(&moderation, Change::Unblock { user: "ann".into() }).unwrap();
    assert!(!moderation.is_blocked("ann"));
}

#[test]
fn mute_is_of_a_user_in_a_room() {
    let moderation = in_memory(&[]);
    make(&moderation, mute("ann", "a", FOREVER)).unwrap();
    make(&moderation, mute("ann", "b", now_s())).unwrap();
    for (user, room, is_muted) in [("ann", "a", true), ("ann", "b", false), ("bob", "a", false)] {
        assert_eq!(moderation.is_muted(user, room), is_muted, "{user} {room}");
    }
    let (user, room) = ("ann".into(), "a".into());
    make(&moderation, Change::Unmute { user, room }).unwrap();
    assert!(!moderation.is_muted("ann", "a"));
}

#[test]
fn revocation_is_of_tokens_from_before_a_time() {
    let moderation = in_memory(&[]);
    make(&moderation, revoke("ann", 100, FOREVER)).unwrap();
    for (user, issued_at, is_revoked) in [
        ("ann", Some(99), true),
        ("ann", Some(100), false),
        ("ann", None, true),
        ("bob", Some(99), false),
        ("bob", None, false),
        ("", None, false),
    ] {
        let revoked = moderation.is_revoked(user, Pass::of_token(issued_at));
        assert_eq!(revoked, is_revoked, "{user} {issued_at:?}");
    }
    // Of all users.
    make(&moderation, revoke("", 50, FOREVER)).unwrap();
    assert!(
        moderation.is_revoked("bob", Pass::of_token(Some(49)))
            && moderation.is_revoked("", Pass::of_token(None))
    );
    assert!(
        !moderation.is_revoked("bob", Pass::of_token(Some(50)))
            && moderation.is_revoked("ann", Pass::of_token(Some(99)))
    );
    make(&moderation, Change::Unrevoke { user: "".into() }).unwrap();
    assert!(!moderation.is_revoked("bob", Pass::of_token(Some(49))));
    // One that is over by itself.
    make(&moderation, revoke("", 50, now_s())).unwrap();
    assert!(!moderation.is_revoked("bob", Pass::of_token(Some(49))));
}

#[test]
fn who_is_kept_out_is_told_why() {
    let moderation = in_memory(&[]);
    let token = Pass::of_token;
    assert_eq!(moderation.keeps_out("ann", token(None)), None);
    make(&moderation, revoke("ann", 100, FOREVER)).unwrap();
    assert_eq!(
        moderation.keeps_out("ann", token(None)),
        Some(KeptOut::Revoked)
    );
    assert_eq!(moderation.keeps_out("ann", Pass::NONE), None);
    make(&moderation, block("ann", FOREVER)).unwrap();
    for pass in [token(None), token(Some(100)), Pass::NONE] {
        assert_eq!(moderation.keeps_out("ann", pass), Some(KeptOut::Blocked));
    }
    let standing = moderation.standing();
    assert_eq!((standing.entries, standing.changed), ([1, 0, 1], [1, 0, 1]));
    assert_eq!((standing.blocked, standing.revoked), (3, 1));
}

#[test]
fn entries_beyond_the_bound_are_refused_and_what_is_over_makes_room() {
    let moderation = in_memory(&["--blocks-max=2", "--mutes-max=1", "--revocations-max=1"]);
    make(&moderation, block("ann", FOREVER)).unwrap();
    make(&moderation, block("bob", FOREVER)).unwrap();
    let refused = make(&moderation, block("cid", FOREVER));
    assert_eq!(refused, Err(NotChanged::Full(Full::All(Kind::Block))));
    // One that is known is no further one.
    make(&moderation, block("bob", FOREVER)).unwrap();
    make(&moderation, mute("ann", "a", FOREVER)).unwrap();
    let refused = make(&moderation, mute("ann", "b", FOREVER));
    assert_eq!(refused, Err(NotChanged::Full(Full::All(Kind::Mute))));
    make(&moderation, revoke("", 5, FOREVER)).unwrap();
    let refused = make(&moderation, revoke("ann", 5, FOREVER));
    assert_eq!(refused, Err(NotChanged::Full(Full::All(Kind::Revocation))));
    make(&moderation, block("bob", 0)).unwrap();
    moderation.swept_s.store(0, Ordering::Relaxed);
    make(&moderation, block("cid", FOREVER)).unwrap();
    assert_eq!(moderation.standing().entries, [2, 1, 1]);
    // What a reload allows holds at once.
    moderation.allow(Bounds {
        blocks: 3,
        ..Bounds::default()
    });
    make(&moderation, block("dan", FOREVER)).unwrap();
}

#[test]
fn user_is_muted_in_so_many_rooms_and_no_more() {
    let moderation = in_memory(&[]);
    for room in 0..MUTES_PER_USER_MAX {
        make(&moderation, mute("ann", &room.to_string(), FOREVER)).unwrap();
    }
    let refused = make(&moderation, mute("ann", "one more", FOREVER));
    assert_eq!(refused, Err(NotChanged::Full(Full::OfUser)));
    make(&moderation, mute("bob", "one more", FOREVER)).unwrap();
}

#[test]
fn lists_go_on_behind_what_they_told_and_leave_out_what_is_over() {
    let moderation = in_memory(&[]);
    for user in ["a", "b", "c", "d"] {
        make(&moderation, block(user, FOREVER)).unwrap();
        make(&moderation, mute(user, "x", FOREVER)).unwrap();
        make(&moderation, mute(user, "y", FOREVER)).unwrap();
        make(&moderation, revoke(user, 5, FOREVER)).unwrap();
    }
    make(&moderation, revoke("", 5, FOREVER)).unwrap();
    make(&moderation, block("b", 0)).unwrap();
    make(&moderation, mute("b", "x", 0)).unwrap();
    let blocks = |behind: &str| -> Vec<_> {
        let some = moderation.blocks(behind, 2);
        some.into_iter().map(|(user, _)| user.to_string()).collect()
    };
    assert_eq!(
        (blocks(""), blocks("c")),
        (vec!["a".into(), "c".into()], vec!["d".into()])
    );
    let mutes = |behind| -> Vec<_> {
        let some = moderation.mutes(behind, 3);
        some.into_iter()
            .map(|(user, room, _)| format!("{user}{room}"))
            .collect()
    };
    assert_eq!(mutes(("", "")), ["ax", "ay", "by"]);
    assert_eq!(mutes(("a", "x")), ["ay", "by", "cx"]);
    assert_eq!(mutes(("d", "x")), ["dy"]);
    let revocations = |behind| -> Vec<_> {
        let some = moderation.revocations(behind, 2);
        some.into_iter().map(|(user, _)| user.to_string()).collect()
    };
    assert_eq!(revocations(None), ["", "a"]);
    assert_eq!(revocations(Some("a")), ["b", "c"]);
}

#[test]
fn what_is_kept_is_in_force_again_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (moderation, state) = open_in(dir.path(), &[]);
    make(&moderation, block("ann", FOREVER)).unwrap();
    make(&moderation, block("bob", FOREVER)).unwrap();
    make(&moderation, Change::Unblock { user: "bob".into() }).unwrap();
    make(&moderation, mute("ann", "room", now_s() + 60)).unwrap();
    make(&moderation, revoke("", 10, FOREVER)).unwrap();
    make(&moderation, revoke("cid", 20, FOREVER)).unwrap();
    drop((moderation, state));
    let (moderation, _state) = reopened(dir.path());
    assert!(moderation.is_blocked("ann") && !moderation.is_blocked("bob"));
    assert!(moderation.is_muted("ann", "room"));
    assert!(
        moderation.is_revoked("cid", Pass::of_token(Some(19)))
            && !moderation.is_revoked("cid", Pass::of_token(Some(20)))
    );
    assert!(
        moderation.is_revoked("dan", Pass::of_token(Some(9)))
            && !moderation.is_revoked("dan", Pass::of_token(Some(10)))
    );
    assert_eq!(moderation.standing().entries, [1, 1, 2]);
}

/// The thread of the one before lets go of the file a moment after it has no orders any more.
fn reopened(dir: &Path) -> (Arc<Moderation>, State) {
    let flag = format!("--state-dir={}", dir.display());
    let settings = settings(&[&flag]);
    let state = State::open(&settings).unwrap().unwrap();
    for _ in 0..1_000 {
        match Moderation::open(&settings, Some(&state)) {
            Ok(moderation) => return (moderation, state),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
    panic!("the file stays locked");
}

#[test]
fn file_that_cannot_be_read_is_an_error_that_names_it_and_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("moderation.redb");
    let (moderation, state) = open_in(dir.path(), &[]);
    make(&moderation, block("some-long-user-name", FOREVER)).unwrap();
    drop((moderation, state));
    drop(reopened(dir.path()));
    let good = loop {
        // As long as it is open, it says that it is.
        let flag = format!("--state-dir={}", dir.path().display());
        let settings = settings(&[&flag]);
        let state = State::open(&settings).unwrap().unwrap();
        if let Ok((store, _)) = store::Store::open(state.directory()) {
            drop(store);
            break fs::read(&file).unwrap();
        }
    };
    let at = good.windows(9).position(|it| it == b"some-long").unwrap();
    let mut flipped = good.clone();
    flipped[at] ^= 1;
    for bytes in [
        b"nothing of the kind".to_vec(),
        good[..good.len() / 2].to_vec(),
        flipped,
    ] {
        fs::write(&file, bytes).unwrap();
        let flag = format!("--state-dir={}", dir.path().display());
        let settings = settings(&[&flag]);
        let state = State::open(&settings).unwrap().unwrap();
        let refused = Moderation::open(&settings, Some(&state))
            .unwrap_err()
            .to_string();
        for word in ["state_dir", "moderation.redb", "remove it"] {
            assert!(refused.contains(word), "{word} is not in: {refused}");
        }
    }
}
