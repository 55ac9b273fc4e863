//! Errors as they cross the border.

use abi_stable::StableAbi;
use abi_stable::std_types::{RResult, RString};

/// What kind of error crossed the border. Open: unknown codes are kept and shown as they are.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// An error the plugin reported itself.
    pub const PLUGIN: ErrorCode = ErrorCode(1);
    /// A panic inside the plugin, caught by its guard.
    pub const PANIC: ErrorCode = ErrorCode(2);
    /// A tensor operation that failed: shapes, dtypes, devices.
    pub const OPERATION: ErrorCode = ErrorCode(3);
    /// A configuration the plugin does not accept.
    pub const CONFIG: ErrorCode = ErrorCode(4);
    /// A service that this hook, this protocol or this host does not offer.
    pub const UNAVAILABLE: ErrorCode = ErrorCode(5);
    /// A panic inside the host, caught at the border.
    pub const HOST: ErrorCode = ErrorCode(6);
}

/// An error as it crosses the border.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct ApiError {
    /// What kind of error.
    pub code: ErrorCode,
    /// What went wrong, for a person.
    pub message: RString,
}

/// The result of every function that crosses the border.
pub type ApiResult<T> = RResult<T, ApiError>;
