//! That what a user gave is at fault, not the run: such errors end the program with their own exit code.

/// An error in a file, picture or option of the user's. It reads as the error it holds.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BadInput(#[from] anyhow::Error);
