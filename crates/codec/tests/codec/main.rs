//! Tests of the public interface: tables of vectors, properties, and the fuzz corpus.

mod corpus;
mod driver;
mod frames;
mod handshake;
mod properties;
mod vectors;
