//! The three object types that a plugin hands to the host.

use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, ROption, RSlice, RStr, RString, RVec};

use super::data::{RawDatasetDescription, RawPhase, RawPrefix, RawRecord, RawTerm};
use super::error::ApiResult;
use super::handle::{Context, RawTensor};

/// Changes what sites compute. Called from any thread, never from two at once for one batch.
#[sabi_trait]
pub trait RawAdapter: Send + Sync {
    /// The new output of a site.
    fn adapt(
        &self,
        site: u64,
        input: RawTensor,
        output: RawTensor,
        parameters: RSlice<'_, RawTensor>,
        context: Context,
    ) -> ApiResult<RawTensor>;
    /// Soft prompt tokens for a batch.
    fn prefix(&self, parameters: RSlice<'_, RawTensor>, context: Context) -> ApiResult<ROption<RawPrefix>>;
    /// What to add to the weight of a site for evaluation, or none.
    fn merged_delta(&self, site: u64, parameters: RSlice<'_, RawTensor>) -> ApiResult<RawTensor>;
    /// Whether the output at a token depends on that token's input alone.
    #[sabi(last_prefix_field)]
    fn token_local(&self) -> bool;
}

/// The trait with methods of later versions, which `sabi_trait` does not take behind a `cfg`.
macro_rules! strategy_trait {
    ($($later:tt)*) => {
        /// Takes part in training. Called from one thread at a time.
        #[sabi_trait]
        pub trait RawStrategy: Send {
            /// Before the first step of a stage.
            fn before_stage(&mut self, context: Context) -> ApiResult<RVec<RawPhase>>;
            /// After the last step of a stage.
            fn after_stage(&mut self, context: Context) -> ApiResult<()>;
            /// Which samples train next.
            fn compose_batch(&mut self, fresh: RSlice<'_, u64>, context: Context) -> ApiResult<RVec<u64>>;
            /// Extra terms of the loss.
            fn loss(&mut self, context: Context) -> ApiResult<RVec<RawTerm>>;
            /// Between backward and clipping.
            fn after_backward(&mut self, context: Context) -> ApiResult<()>;
            /// After the optimizer's step.
            fn after_update(&mut self, context: Context) -> ApiResult<()>;
            /// Before the tasks are answered.
            fn before_eval(&mut self, context: Context) -> ApiResult<()>;
            /// After the tasks were answered.
            fn after_eval(&mut self, context: Context) -> ApiResult<()>;
            /// State that is not a registered tensor.
            fn save(&self) -> ApiResult<RVec<u8>>;
            /// Takes such state back.
            #[sabi(last_prefix_field)]
            fn load(&mut self, state: RSlice<'_, u8>) -> ApiResult<()>;
            $($later)*
        }
    };
}

#[cfg(not(feature = "growth"))]
strategy_trait! {}

#[cfg(feature = "growth")]
strategy_trait! {
    /// For tests of the border's growth: a hook that older plugins do not have.
    fn growth_rest(&mut self) -> ApiResult<u64> {
        ApiResult::ROk(0)
    }
}

/// Reads records. Called from several threads at once.
#[sabi_trait]
pub trait RawDataset: Send + Sync {
    /// What it is.
    fn describe(&self) -> ApiResult<RawDatasetDescription>;
    /// Records of a split: 0 train, 1 val, 2 test.
    fn len(&self, split: u32) -> ApiResult<u64>;
    /// A range of records.
    fn records(&self, split: u32, start: u64, end: u64) -> ApiResult<RVec<RawRecord>>;
    /// The files that records are read from.
    fn files(&self) -> ApiResult<RVec<RString>>;
    /// Problems that the records do not show, one line each.
    fn verify(&self) -> ApiResult<RVec<RString>>;
    /// A score in `0..=1` where no metric of the host fits.
    #[sabi(last_prefix_field)]
    fn score(&self, prediction: RStr<'_>, record: RawRecord) -> ApiResult<ROption<f64>>;
}

/// An adapter as the host holds it.
pub type AdapterBox = RawAdapter_TO<'static, RBox<()>>;
/// A strategy as the host holds it.
pub type StrategyBox = RawStrategy_TO<'static, RBox<()>>;
/// A dataset as the host holds it.
pub type DatasetBox = RawDataset_TO<'static, RBox<()>>;
