//! The integration tests, one binary.

mod built;
mod cli;
mod datasets;
mod moelora;
mod setup;
mod support;
mod tables;
mod tidy;
