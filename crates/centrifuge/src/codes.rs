//! The protocol's tables of codes: errors in replies, disconnects, ends of subscriptions.

use strum::VariantArray;

/// Declares a table: number, text, variant.
macro_rules! codes {
    ($(#[$docs:meta])* $name:ident, $text:ident: $(#[$text_docs:meta])* {
        $($(#[$code_docs:meta])* $number:literal $words:literal $code:ident,)*
    }) => {
        $(#[$docs])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, VariantArray)]
        pub enum $name {
            $($(#[$code_docs])* $code = $number,)*
        }

        impl $name {
            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                self as u16
            }

            $(#[$text_docs])*
            #[must_use]
            pub const fn $text(self) -> &'static str {
                match self {
                    $(Self::$code => $words,)*
                }
            }
        }
    };
}

codes! {
    /// Why a command failed, in the error of its reply. Applications have 400 to 1999 for their own.
    ErrorCode, message:
    /// What the reply says beside the number.
    {
        /// The server failed; the client may try again.
        100 "internal server error" Internal,
        /// Who the client is does not suffice.
        101 "unauthorized" Unauthorized,
        /// The channel's namespace does not exist.
        102 "unknown channel" UnknownChannel,
        /// The client lacks a right.
        103 "permission denied" PermissionDenied,
        /// The method called does not exist.
        104 "method not found" MethodNotFound,
        /// The connection has a subscription to this channel.
        105 "already subscribed" AlreadySubscribed,
        /// A bound is reached.
        106 "limit exceeded" LimitExceeded,
        /// The command makes no sense, and will not if it is repeated.
        107 "bad request" BadRequest,
        /// The feature is off.
        108 "not available" NotAvailable,
        /// The token's time is over; the client gets a new one and tries again.
        109 "token expired" TokenExpired,
        /// The connection's time is over, whatever its token says.
        110 "expired" Expired,
        /// The client asks too often; it may try again.
        111 "too many requests" TooManyRequests,
        /// The messages after a position are not all kept.
        112 "unrecoverable position" UnrecoverablePosition,
    }
}

impl ErrorCode {
    /// Whether the same command may succeed a little later, so that SDKs repeat it.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests)
    }
}

codes! {
    /// Why the server closes a connection, as a close code of WebSocket or in a push. Applications
    /// have 4000 to 4999 for their own.
    Disconnect, reason:
    /// What the close frame says beside the number; at most 32 bytes.
    {
        /// The connection ended without a reason of the server's.
        3000 "connection closed" ConnectionClosed,
        /// The server shuts down.
        3001 "shutdown" Shutdown,
        /// The server failed.
        3004 "internal server error" ServerError,
        /// The token expired, and no new one came in time.
        3005 "connection expired" Expired,
        /// The token of a server-side subscription expired.
        3006 "subscription expired" SubscriptionExpired,
        /// The client reads too slowly.
        3008 "slow" Slow,
        /// The socket failed.
        3009 "write error" WriteError,
        /// A server-side subscription has a gap; recovery on reconnect closes it.
        3010 "insufficient state" InsufficientState,
        /// The client is to connect anew.
        3011 "force reconnect" ForceReconnect,
        /// A ping was not answered in time.
        3012 "no pong" NoPong,
        /// The client asks too often, and went on after errors 111.
        3013 "too many requests" TooManyRequests,
        /// What the server held for the connection is no longer true.
        3014 "state invalidated" StateInvalidated,
        /// The token is not valid.
        3500 "invalid token" InvalidToken,
        /// A frame cannot be read, or a command stands where it must not.
        3501 "bad request" BadRequest,
        /// No connect command came in time.
        3502 "stale" Stale,
        /// An operator ended the connection.
        3503 "force disconnect" ForceDisconnect,
        /// There are too many connections, in all or of this user.
        3504 "connection limit" ConnectionLimit,
        /// The connection has too many server-side subscriptions.
        3505 "channel limit" ChannelLimit,
        /// A payload cannot be sent in the connection's encoding.
        3506 "inappropriate protocol" InappropriateProtocol,
        /// The client may not be here.
        3507 "permission denied" PermissionDenied,
        /// The client sent what needs no reply to a feature that is off.
        3508 "not available" NotAvailable,
        /// The client makes too many errors.
        3509 "too many errors" TooManyErrors,
    }
}

impl Disconnect {
    /// Whether SDKs connect again. A code for what cannot succeed must not let them, for they would
    /// try for ever.
    #[must_use]
    pub const fn reconnects(self) -> bool {
        reconnects(self.code())
    }
}

/// Whether SDKs connect again after a close code, also one of an application: they do not from
/// 3500 to 3999 and from 4500 to 4999.
#[must_use]
pub const fn reconnects(code: u16) -> bool {
    !matches!(code, 3500..=3999 | 4500..=4999)
}

codes! {
    /// Why the server ends a subscription, in a push. Applications have 2100 to 2499 and 2600 to
    /// 2999 for their own.
    Unsubscribed, reason:
    /// What the push says beside the number.
    {
        /// An operator or the application asked for it.
        2000 "server unsubscribe" Server,
        /// The life of a one-shot room is over.
        2100 "room over" Over,
        /// Another subscriber has come with the secret of a one-shot room.
        2101 "replaced" Replaced,
        /// The subscriber has a gap; subscribing with its position closes it.
        2500 "insufficient state" InsufficientState,
        /// The subscription's token expired.
        2501 "subscription expired" Expired,
        /// What the server held for the subscription is no longer true.
        2502 "state invalidated" StateInvalidated,
    }
}

impl Unsubscribed {
    /// Whether SDKs subscribe again.
    #[must_use]
    pub const fn resubscribes(self) -> bool {
        self.code() >= 2500
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disconnect_each_code_fits_a_close_frame_and_its_range_decides() {
        for disconnect in Disconnect::VARIANTS {
            assert!(disconnect.reason().len() <= 32);
            assert_eq!(disconnect.reconnects(), disconnect.code() < 3500);
        }
        let terminal = (3000..5000).filter(|code| !reconnects(*code));
        assert!(terminal.eq((3500..4000).chain(4500..5000)));
        assert!(reconnects(1001));
    }

    #[test]
    fn error_two_codes_are_temporary() {
        let temporary = ErrorCode::VARIANTS.iter().filter(|it| it.is_temporary());
        assert!(temporary.map(|it| it.code()).eq([100, 111]));
    }

    #[test]
    fn unsubscribed_by_the_server_and_from_one_shot_rooms_is_final() {
        let last = Unsubscribed::VARIANTS
            .iter()
            .filter(|it| !it.resubscribes());
        let codes: Vec<_> = last.map(|it| it.code()).collect();
        assert_eq!(codes, [2000, 2100, 2101]);
    }
}
