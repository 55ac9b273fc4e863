//! The integration tests, one binary.

mod built;
mod setup;
mod tidy;
