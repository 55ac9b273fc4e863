//! What every tensor handle needs: counting, shape, values, modes.

use abi_stable::StableAbi;
use abi_stable::std_types::{RString, RVec};

use super::error::ApiResult;
use super::handle::{DType, Floats, Ints, RawTensor, RawTensorList, RawTensors, Text};

/// What every tensor handle needs. `[thread]`: any thread that owns the handle.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = CoreOpsRef, prefix_fields = CoreOpsPrefix)))]
pub struct CoreOps {
    /// Borrows a tensor; returns a second owned handle to it.
    pub clone_ref: extern "C" fn(RawTensor) -> RawTensor,
    /// Takes an owned handle back.
    pub release: extern "C" fn(RawTensor),
    /// Sizes of the dimensions.
    pub shape: extern "C" fn(RawTensor) -> ApiResult<RVec<i64>>,
    /// Element type.
    pub dtype: extern "C" fn(RawTensor) -> ApiResult<DType>,
    /// Whether gradients flow to it.
    pub requires_grad: extern "C" fn(RawTensor) -> bool,
    /// Sets the gradient mode of this thread; returns the previous one.
    pub set_grad_enabled: extern "C" fn(bool) -> bool,
    /// The value of a tensor with one element.
    pub to_f64: extern "C" fn(RawTensor) -> ApiResult<f64>,
    /// All values, row-major, as 32-bit floats.
    pub to_floats: extern "C" fn(RawTensor) -> ApiResult<RVec<f32>>,
    /// All values, row-major, as 64-bit integers.
    pub to_ints: extern "C" fn(RawTensor) -> ApiResult<RVec<i64>>,
    /// A float32 tensor of this shape on the compute device.
    pub from_floats: extern "C" fn(Floats, Ints) -> ApiResult<RawTensor>,
    /// An int64 tensor of this shape on the compute device.
    pub from_ints: extern "C" fn(Ints, Ints) -> ApiResult<RawTensor>,
    /// Name, shape, dtype and device, for messages.
    pub describe: extern "C" fn(RawTensor) -> RString,
    /// Gradients of a scalar with regard to tensors: `(loss, inputs, keep_graph, create_graph)`.
    pub gradients: extern "C" fn(RawTensor, RawTensors, bool, bool) -> ApiResult<RawTensorList>,
    /// `einsum(equation, operands)`.
    pub einsum: extern "C" fn(Text, RawTensors) -> ApiResult<RawTensor>,
    /// Any ATen operator by name and overload, on tensors, integers and truth values; see `call_op`.
    #[sabi(last_prefix_field)]
    pub call_op: extern "C" fn(Text, Text, RVec<super::services::RawArgument>) -> ApiResult<RawTensorList>,
}
