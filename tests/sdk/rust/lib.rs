//! Holds tests of an unmodified SDK, and nothing else.
