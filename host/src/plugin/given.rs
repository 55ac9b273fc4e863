//! What a hook gives to the host, in tensor handles: what it had more than these, it kept.

use abi_stable::std_types::{ROption, RVec};
use coin_plugin_api::abi::{RawMethod, RawPhase, RawPrefix, RawTensor, RawTerm};

/// The result of a hook.
pub(super) trait Given {
    /// Handles in it, which are the host's now.
    fn handles(&self) -> i64 {
        0
    }
}

impl Given for () {}
impl Given for RawMethod {}
impl Given for RVec<RawPhase> {}
impl Given for RVec<u64> {}
impl Given for RVec<u8> {}

impl Given for RawTensor {
    fn handles(&self) -> i64 {
        i64::from(!self.is_none())
    }
}

impl Given for ROption<RawPrefix> {
    fn handles(&self) -> i64 {
        self.as_ref().map_or(0, |prefix| prefix.tokens.handles())
    }
}

impl Given for RVec<RawTerm> {
    fn handles(&self) -> i64 {
        self.iter().map(|term| term.value.handles()).sum()
    }
}
