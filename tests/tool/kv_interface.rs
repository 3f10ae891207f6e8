//! `docs/kv.x` as others read it: by rpcgen and libtirpc, and by Python from the RFCs alone.

use std::path::Path;
use std::process::{Command, Output};

use crate::tools::tool;

const MESSAGES: &str = include_str!("../fixtures/onc-rpc/messages.txt");

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs rpcgen and libtirpc"]
fn rpcgen_makes_c_of_the_interface_which_encodes_as_our_messages_are() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(root.join("docs/kv.x"), folder.path().join("kv.x")).unwrap();
    std::fs::copy(root.join("tests/fixtures/onc-rpc/encode.c"), folder.path().join("encode.c")).unwrap();
    run(tool("rpcgen", "rpcsvc-proto").args(["-N", "-M", "kv.x"]).current_dir(&folder));
    let sources = ["encode.c", "kv_xdr.c", "kv_clnt.c", "-o", "encode"];
    let compile = |command: &mut Command| {
        run(command.args(sources).args(["-I/usr/include/tirpc", "-ltirpc"]).current_dir(&folder));
    };
    compile(&mut tool("gcc", "gcc libtirpc-dev"));
    let encoded = text(run(&mut Command::new(folder.path().join("encode"))));
    assert_eq!(encoded.lines().count(), 13);
    for line in encoded.lines() {
        let (name, arguments) = line.split_once(' ').unwrap();
        let known =
            MESSAGES.lines().find_map(|line| line.split_once(' ').filter(|(known, _)| *known == name)).unwrap().1;
        // Behind mark and head, in hex digits.
        let head = if name.starts_with("kv_") { 2 * 44 } else { 2 * 28 };
        assert_eq!(arguments, &known[head..], "{name}");
    }
}

#[test]
#[ignore = "needs python3"]
fn the_messages_are_what_their_generator_makes() {
    let generator = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onc-rpc/messages.py");
    assert_eq!(text(run(tool("python3", "python3").arg(generator))), MESSAGES);
}
