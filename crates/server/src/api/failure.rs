//! The errors of calls: their codes, which clients know, and the statuses that go with them.

use axum::http::StatusCode;
use centrifuge::ErrorCode;
use hub::{AnswerRefusal, PublishRefusal};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a call has failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    why: Why,
    /// What else is to be said.
    detail: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    Code(ErrorCode),
    /// The idempotency key was used for something else.
    Conflict,
    /// A core has no room for it now.
    Full,
    /// There was no answer in time.
    TimedOut,
}

/// An error as callers get it.
#[derive(Serialize, ToSchema)]
pub(super) struct Error {
    /// 100 internal error, 102 unknown namespace, 103 the key is not for this room, 104 no such RPC method, 106 a
    /// bound is reached, 107 bad request, 108 the room has no such thing, 111 too many requests, 112 the position
    /// cannot be recovered from, 113 the idempotency key was used for something else.
    #[schema(minimum = 100, maximum = 1999)]
    pub(super) code: u16,
    /// For people.
    pub(super) message: String,
}

impl Failure {
    pub(super) const FULL: Self = Self::of(Why::Full);
    pub(super) const TIMED_OUT: Self = Self::of(Why::TimedOut);
    pub(super) const INTERNAL: Self = Self::of(Why::Code(ErrorCode::Internal));
    pub(super) const UNKNOWN_ROOM: Self = Self::of(Why::Code(ErrorCode::UnknownChannel));
    pub(super) const NO_METHOD: Self = Self::of(Why::Code(ErrorCode::MethodNotFound));

    const fn of(why: Why) -> Self {
        Self { why, detail: "" }
    }

    /// A call that makes no sense.
    pub(super) const fn bad(detail: &'static str) -> Self {
        Self {
            why: Why::Code(ErrorCode::BadRequest),
            detail,
        }
    }

    /// A call for what the room does not have.
    pub(super) const fn not_available(detail: &'static str) -> Self {
        Self {
            why: Why::Code(ErrorCode::NotAvailable),
            detail,
        }
    }

    /// A call for a position of another epoch.
    pub(super) const fn other_epoch() -> Self {
        Self::of(Why::Code(ErrorCode::UnrecoverablePosition))
    }

    /// A call for which another has been before.
    pub(super) const fn conflict(detail: &'static str) -> Self {
        Self {
            why: Why::Conflict,
            detail,
        }
    }

    /// A call that the key is not for.
    pub(super) const fn denied(detail: &'static str) -> Self {
        Self {
            why: Why::Code(ErrorCode::PermissionDenied),
            detail,
        }
    }

    /// A call that meets a bound.
    pub(super) const fn limit(detail: &'static str) -> Self {
        Self {
            why: Why::Code(ErrorCode::LimitExceeded),
            detail,
        }
    }

    /// Whether the server had too much to do, so that a single call is answered by a status of its own.
    pub(super) fn is_overload(&self) -> Option<super::refused::Refused> {
        match self.why {
            Why::Full => Some(super::refused::Refused::Full),
            Why::TimedOut => Some(super::refused::Refused::TimedOut),
            Why::Code(_) | Why::Conflict => None,
        }
    }

    /// Whether nothing has happened, and nothing will.
    pub(super) fn is_certain(&self) -> bool {
        !matches!(self.why, Why::TimedOut | Why::Code(ErrorCode::Internal))
    }

    /// The code that clients know.
    pub(super) fn code(&self) -> u16 {
        match self.why {
            Why::Code(code) => code.code(),
            Why::Conflict => 113,
            Why::Full => ErrorCode::TooManyRequests.code(),
            Why::TimedOut => ErrorCode::Internal.code(),
        }
    }

    /// All codes that a call may fail with.
    pub(super) const CODES: [u16; 10] = [100, 102, 103, 104, 106, 107, 108, 111, 112, 113];

    /// The status, where errors have statuses.
    pub(super) fn status(&self) -> StatusCode {
        match self.code() {
            102 | 104 => StatusCode::NOT_FOUND,
            103 => StatusCode::FORBIDDEN,
            107 | 108 => StatusCode::BAD_REQUEST,
            106 | 111 => StatusCode::TOO_MANY_REQUESTS,
            112 => StatusCode::RANGE_NOT_SATISFIABLE,
            113 => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The error as callers get it.
    pub(super) fn error(&self) -> Error {
        let message = match self.why {
            Why::Code(code) => code.message(),
            Why::Conflict => "conflict",
            Why::Full => ErrorCode::TooManyRequests.message(),
            Why::TimedOut => "not carried out in time",
        };
        Error {
            code: self.code(),
            message: match self.detail {
                "" => message.to_owned(),
                detail => format!("{message}: {detail}"),
            },
        }
    }
}

impl From<PublishRefusal> for Failure {
    fn from(refusal: PublishRefusal) -> Self {
        let of = |code| Self::of(Why::Code(code));
        match refusal {
            PublishRefusal::Busy => Self::FULL,
            PublishRefusal::TooFast => of(ErrorCode::TooManyRequests),
            PublishRefusal::RoomGone => Self::INTERNAL,
            PublishRefusal::TooManyRooms => {
                Self::limit("the server has as many rooms as it may have")
            }
            PublishRefusal::TableFull => Self::limit("the room has as many keys as it may have"),
            PublishRefusal::Conflict => {
                Self::conflict("another message has this idempotency key already")
            }
        }
    }
}

impl From<AnswerRefusal> for Failure {
    fn from(refusal: AnswerRefusal) -> Self {
        match refusal {
            AnswerRefusal::OtherEpoch => Self::of(Why::Code(ErrorCode::UnrecoverablePosition)),
            AnswerRefusal::Busy => Self::FULL,
            AnswerRefusal::TooLarge => Self::limit("the answer would be too large"),
            AnswerRefusal::TooManyRooms => {
                Self::limit("the server has as many rooms as it may have")
            }
        }
    }
}
