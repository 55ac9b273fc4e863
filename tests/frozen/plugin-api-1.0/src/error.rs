//! The error of everything a plugin calls.

use std::fmt;

use crate::abi::{ApiError, ErrorCode};

/// What went wrong. Build one with [`Error::new`] or [`crate::bail!`].
#[derive(Clone, Debug)]
pub struct Error {
    pub(crate) code: ErrorCode,
    message: String,
}

/// The result of everything a plugin calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that the plugin reports itself: say what, where, why, and what to do.
    pub fn new(message: impl Into<String>) -> Self {
        Error { code: ErrorCode::PLUGIN, message: message.into() }
    }

    /// A value of the configuration that the plugin does not accept.
    pub fn config(message: impl Into<String>) -> Self {
        Error { code: ErrorCode::CONFIG, message: message.into() }
    }

    /// A part of the border that the host is too old for.
    #[cfg_attr(
        not(feature = "growth"),
        expect(dead_code, reason = "no part of the border is later than its first version yet")
    )]
    pub(crate) fn missing(what: &str) -> Self {
        let message = format!(
            "`{what}` is not there: this host speaks an older version of the plugin api\nhint: a newer coin-host has it"
        );
        Error { code: ErrorCode::UNAVAILABLE, message }
    }

    pub(crate) fn panic(message: impl Into<String>) -> Self {
        Error { code: ErrorCode::PANIC, message: message.into() }
    }

    /// What kind of error.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Error { code: error.code, message: error.message.into_string() }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        ApiError { code: error.code, message: error.message.into() }
    }
}

/// Returns early with an [`Error`] made from a format string.
#[macro_export]
macro_rules! bail {
    ($($message:tt)*) => {
        return ::std::result::Result::Err($crate::Error::new(::std::format!($($message)*)))
    };
}

/// Returns early with an [`Error`] unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            $crate::bail!($($message)*);
        }
    };
}
