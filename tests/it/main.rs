//! The integration tests, one binary.

mod built;
mod setup;
mod tables;
mod tidy;
