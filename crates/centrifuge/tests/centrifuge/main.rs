//! Tests of the public interface: texts on the wire, an independent reader of both encodings,
//! attacks on the decoder, and the fuzz corpus.

#![allow(clippy::unwrap_used)]

mod attacks;
mod commands;
mod corpus;
mod driver;
mod properties;
mod schema;
mod wire;
