//! Compiles the schema, without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["proto/fleet.proto"], ["proto"])?;
    Ok(tonic_prost_build::configure().build_transport(false).compile_fds(files)?)
}
