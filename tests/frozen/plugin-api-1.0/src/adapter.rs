//! Adapters: what changes the output of a site.

use crate::error::Result;
use crate::step::Step;
use crate::tensor::Tensor;

/// Soft prompt tokens (draft: may change).
pub struct Prefix {
    /// `[B, P, d]`.
    pub tokens: Tensor,
    /// Where they go.
    pub place: PrefixPlace,
}

/// Where soft prompt tokens go (draft: may change).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixPlace {
    /// Before everything.
    Start,
    /// After the picture, before the text.
    AfterImage,
}

/// Changes what sites compute. Every call is a pure function of its arguments and of the registered tensors: adapters keep no
/// state between calls, so the host may call them while training, answering, teaching and measuring, in any order.
pub trait Adapter: Send + Sync + 'static {
    /// The new output of a site: `input [.., in_features]`, `output [.., out_features]` as the frozen linear gives it, and
    /// `parameters`, the tensors registered for this site in the order of their registration, in compute dtype. Arguments are never
    /// edited in place.
    ///
    /// # Errors
    /// Whatever an operation reports; the host adds the site, the plugin and the phase.
    fn adapt(
        &self,
        site: usize,
        input: &Tensor,
        output: &Tensor,
        parameters: &[Tensor],
        step: &Step,
    ) -> Result<Tensor>;

    /// Soft prompt tokens for a batch, from the tensors registered without a site (draft: may change).
    fn prefix(&self, parameters: &[Tensor], step: &Step) -> Result<Option<Prefix>> {
        let _unused = (parameters, step);
        Ok(None)
    }

    /// `Some(delta)`, float32 `[out_features, in_features]`, where `output = input (W + delta)^T` holds for every input, so that the
    /// host may fold it into a copy of the weight while answering; else `None`.
    fn merged_delta(&self, site: usize, parameters: &[Tensor]) -> Result<Option<Tensor>> {
        let _unused = (site, parameters);
        Ok(None)
    }

    /// Whether the new output at a token depends on nothing but the input and output at that token. The host may then leave out tokens
    /// whose result nobody reads, show others twice, and read what rows have in common once; masks, features, terms, counts and
    /// sequences are refused to such an adapter.
    fn token_local(&self) -> bool {
        false
    }
}
