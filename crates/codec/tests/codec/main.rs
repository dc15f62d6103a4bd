//! Tests of the public interface: tables of vectors, properties, and the fuzz corpus.

mod corpus;
mod deflate;
mod driver;
mod frames;
mod handshake;
mod http;
mod negotiation;
mod peer;
mod properties;
mod smuggling;
mod vectors;
