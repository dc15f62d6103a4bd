//! The benchmarks. Each does its work `TIMES` times; its input is prepared before counting starts.
//!
//! src/table.rs parses their names and prints the results as a table.

#![expect(
    missing_docs,
    reason = "the macros make public items of the benchmarks"
)]

use std::hint::black_box;

use bench_codec::{Arriving, Asking, REQUEST_BROWSER, REQUEST_SHORT, TIMES, ascii};
use codec::{Kind, Opcode, encode_message, frame};
use gungraun::Callgrind;
use gungraun::prelude::*;

fn check_arriving(arriving: Arriving) {
    arriving.check();
}

fn check_asking(asking: Asking) {
    asking.check();
}

#[library_benchmark(teardown = check_arriving)]
#[benches::binary(args = [0, 20, 128, 1024, 16384], setup = Arriving::binary)]
#[benches::text(args = [20, 128, 1024, 16384], setup = Arriving::text)]
#[benches::greek(args = [20, 128, 1024, 16384], setup = Arriving::greek)]
#[benches::deep(args = [20, 128], setup = Arriving::deep)]
#[benches::text_pieces(args = [64, 1024, 4096], setup = Arriving::ascii_in_pieces)]
#[benches::greek_pieces(args = [63, 1023, 4095], setup = Arriving::greek_in_pieces)]
#[benches::ping(args = [8], setup = Arriving::pings)]
fn decode(mut arriving: Arriving) -> Arriving {
    arriving.read();
    arriving
}

fn outgoing(payload_bytes: usize) -> (Vec<u8>, Vec<u8>) {
    (ascii(payload_bytes), Vec::with_capacity(payload_bytes + 10))
}

#[library_benchmark]
#[benches::message(args = [20, 128, 1024, 16384], setup = outgoing)]
fn encode((payload, mut out): (Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    for _ in 0..TIMES {
        out.clear();
        encode_message(black_box(Kind::Text), black_box(&payload), &mut out);
        black_box(&out);
    }
    (payload, out)
}

#[library_benchmark]
#[benches::header(20, 128, 65536)]
fn encode_header(payload_bytes: usize) {
    for _ in 0..TIMES {
        let header = frame::header(black_box(Opcode::Text), black_box(payload_bytes));
        black_box(&*header);
    }
}

#[library_benchmark(teardown = check_asking)]
#[bench::short(args = (REQUEST_SHORT), setup = Asking::all)]
#[bench::browser(args = (REQUEST_BROWSER), setup = Asking::all)]
fn handshake(mut asking: Asking) -> Asking {
    asking.answer();
    asking
}

library_benchmark_group!(
    name = codec_group,
    benchmarks = [decode, encode, encode_header, handshake]
);

// Only instructions are counted: a simulated cache would say little about a real one, and takes
// longer. From some KiB on, glibc copies with one instruction that valgrind counts once for each
// byte; this setting makes it copy with vectors at every length.
main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::with_args(["--cache-sim=no"]))
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.x86_rep_movsb_threshold=1073741824"
        ),
    library_benchmark_groups = codec_group
);
