//! The integration tests, one binary.

mod bad_input;
mod bench;
mod built;
mod cli;
mod compare;
mod data;
mod data_streaming;
mod datasets;
mod determinism;
mod faults;
mod fuzz;
mod judge;
mod llava;
mod loader;
mod moelora;
mod published;
mod resume;
mod runs;
mod score;
mod score_run;
mod setup;
mod strict;
mod support;
mod tables;
mod tidy;
mod verify_run;
