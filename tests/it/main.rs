//! The integration tests, one binary.

mod built;
mod datasets;
mod moelora;
mod setup;
mod tables;
mod tidy;
