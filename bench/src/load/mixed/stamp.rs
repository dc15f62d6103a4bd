//! The time at which bytes reached a socket according to the kernel, however late they are read.
//!
//! With `SO_TIMESTAMPNS` the kernel records when it takes a segment from the network, and `recvmsg`
//! on a TCP socket returns the time of the last segment that it read from (`tcp_recvmsg` in the
//! kernel; Documentation/networking/timestamping.rst describes the option). If several messages are
//! read at once, the earlier ones count as if they had arrived with the last, so never too early.

use anyhow::{Context as _, Result};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use rustix::fd::OwnedFd;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant, SystemTime};

/// The two clocks are read in pairs, until the readings of one pair are this close.
const CLOSE: Duration = Duration::from_micros(2);
const PAIRS_MAX: usize = 5;

/// The same moment on the clock of the kernel's timestamps and on that of the measurements.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    instant: Instant,
    real: SystemTime,
}

impl Clocks {
    /// The current moment. If another program had the processor between the two readings, they are
    /// repeated.
    #[must_use]
    pub fn now() -> Self {
        let pair = || {
            let before = Instant::now();
            let real = SystemTime::now();
            let apart = before.elapsed();
            let instant = before + apart / 2;
            (apart, Self { instant, real })
        };
        let mut best = pair();
        for _ in 1..PAIRS_MAX {
            if best.0 <= CLOSE {
                break;
            }
            let next = pair();
            if next.0 < best.0 {
                best = next;
            }
        }
        best.1
    }

    /// Converts a moment from the kernel's clock to the other one.
    #[must_use]
    pub fn instant_of(&self, stamp: SystemTime) -> Instant {
        match stamp.duration_since(self.real) {
            Ok(later) => self.instant + later,
            Err(earlier) => self
                .instant
                .checked_sub(earlier.duration())
                .unwrap_or(self.instant),
        }
    }
}

/// The outcome of one receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// No bytes have arrived.
    Nothing,
    /// This many bytes, and when the last of them arrived; no time, if that segment arrived before
    /// the kernel had begun to record times.
    Bytes(usize, Option<SystemTime>),
    /// The peer has ended the connection.
    End,
}

/// Makes the kernel record when segments arrive.
pub fn enable(socket: &OwnedFd) -> Result<()> {
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)
        .context("the kernel does not note when bytes come (SO_TIMESTAMPNS)")
}

/// Performs one nonblocking receive.
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Read> {
    let mut control = cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
        Ok(received) => received,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Read::Nothing),
        Err(error) => return Err(anyhow::Error::new(error).context("receiving")),
    };
    if received.bytes == 0 {
        return Ok(Read::End);
    }
    let stamp = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(time) => {
            Some(SystemTime::UNIX_EPOCH + Duration::from(time))
        }
        _ => None,
    });
    Ok(Read::Bytes(received.bytes, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::thread::sleep;

    const PAUSE: Duration = Duration::from_millis(40);

    /// Both ends of a connection; the second one has timestamps. The kernel begins to record times
    /// a moment after the first request for them.
    fn pair() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        one.set_nodelay(true).unwrap();
        let other = OwnedFd::from(listener.accept().unwrap().0);
        enable(&other).unwrap();
        for _ in 0..100 {
            one.write_all(b"?").unwrap();
            sleep(Duration::from_millis(5));
            if let Read::Bytes(_, Some(_)) = receive(&other, &mut [0; 8]).unwrap() {
                return (one, other);
            }
        }
        panic!("the kernel never stamped what came over loopback");
    }

    fn stamp_of(socket: &OwnedFd, expected: usize) -> Instant {
        let clocks = Clocks::now();
        match receive(socket, &mut [0; 64]).unwrap() {
            Read::Bytes(bytes, Some(stamp)) => {
                assert_eq!(bytes, expected);
                clocks.instant_of(stamp)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn stamp_is_the_time_of_arrival_and_not_of_reading() {
        let (mut sender, receiver) = pair();
        let before = Instant::now();
        sender.write_all(b"message").unwrap();
        let after = Instant::now();
        sleep(PAUSE);
        let arrived = stamp_of(&receiver, 7);
        let slack = Duration::from_millis(1);
        assert!(arrived + slack >= before, "{:?} early", before - arrived);
        assert!(arrived <= after + slack, "{:?} late", arrived - after);
    }

    #[test]
    fn stamp_of_two_messages_read_at_once_is_that_of_the_last() {
        let (mut sender, receiver) = pair();
        sender.write_all(b"first").unwrap();
        sleep(PAUSE);
        let before = Instant::now();
        sender.write_all(b"second").unwrap();
        sleep(PAUSE);
        let arrived = stamp_of(&receiver, 11);
        assert!(arrived + Duration::from_millis(1) >= before);
        assert!(arrived < Instant::now() - PAUSE / 2);
    }

    #[test]
    fn receive_tells_nothing_and_the_end_apart() {
        let (sender, receiver) = pair();
        assert_eq!(receive(&receiver, &mut [0; 8]).unwrap(), Read::Nothing);
        drop(sender);
        sleep(PAUSE);
        assert_eq!(receive(&receiver, &mut [0; 8]).unwrap(), Read::End);
    }

    #[test]
    fn clocks_move_together() {
        let (instant, real) = (Instant::now(), SystemTime::UNIX_EPOCH + PAUSE);
        let clocks = Clocks { instant, real };
        assert_eq!(clocks.instant_of(real + PAUSE), instant + PAUSE);
        assert_eq!(clocks.instant_of(real - PAUSE), instant - PAUSE);
        let now = Clocks::now();
        assert!(now.instant_of(SystemTime::now()) - now.instant < PAUSE);
    }
}
