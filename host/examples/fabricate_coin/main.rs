//! Writes a made-up set in the layout of CoIN's release, as large as the release or smaller, to measure with:
//! `cargo run --release -p coin-host --example fabricate_coin -- FOLDER [RECORDS [PICTURES]]`

mod layout;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map(PathBuf::from);
    let mut number =
        |default: usize| arguments.next().map_or(Some(default), |text| text.replace('_', "").parse().ok());
    let (Some(folder), Some(records), Some(pictures)) = (folder, number(layout::RELEASE), number(200)) else {
        eprintln!("usage: fabricate_coin FOLDER [RECORDS [PICTURES]]");
        return ExitCode::from(2);
    };
    match layout::fabricate(&folder, records, pictures) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}
