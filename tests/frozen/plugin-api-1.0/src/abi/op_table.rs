//! The table of typed operations. Each row yields a field of a group, a safe method of [`Tensor`](crate::Tensor), the host's entry
//! point and a row of the operation reference.
//!
//! A row reads `fn name(argument: Type, ..) -> Type;`. Groups grow by rows marked `later` at their end, never above: a host that
//! lacks such a row makes its method an error.

/// Adds rows to two groups where the feature `growth` is on, as a later version of the border would.
#[cfg(feature = "growth")]
#[doc(hidden)]
#[macro_export]
macro_rules! grow {
    ($expand:ident math { $($rows:tt)* }) => {
        $expand! {
            $($rows)*
            later
            /// `a * a * a`.
            fn growth_cube(a: RawTensor) -> RawTensor;
        }
    };
    ($expand:ident nn { $($rows:tt)* }) => {
        $expand! {
            $($rows)*
            later
            /// `a` in the direction of `b`.
            fn growth_project(a: RawTensor, b: RawTensor) -> RawTensor;
            later
            /// Parts of `a`, each as long as it is wide.
            fn growth_parts(a: RawTensor) -> RawTensorList;
        }
    };
}

/// Leaves groups as they are.
#[cfg(not(feature = "growth"))]
#[doc(hidden)]
#[macro_export]
macro_rules! grow {
    ($expand:ident $group:ident { $($rows:tt)* }) => {
        $expand! { $($rows)* }
    };
}

/// Element-wise arithmetic and functions.
#[doc(hidden)]
#[macro_export]
macro_rules! math_ops {
    ($expand:ident) => {
        $crate::grow! { $expand math {
            group MathOps, MathOpsRef, MathOpsPrefix, math;
            /// `a + b`, broadcast.
            fn add(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a - b`, broadcast.
            fn sub(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a * b`, broadcast.
            fn mul(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a / b`, broadcast.
            fn div(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a + value`. Here and below a number is a float: integers become float32.
            fn add_scalar(a: RawTensor, value: f64) -> RawTensor;
            /// `a * value`.
            fn mul_scalar(a: RawTensor, value: f64) -> RawTensor;
            /// `a + alpha * b`, broadcast.
            fn add_scaled(a: RawTensor, b: RawTensor, alpha: f64) -> RawTensor;
            /// `a ^ b`, broadcast.
            fn pow(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a ^ value`.
            fn pow_scalar(a: RawTensor, value: f64) -> RawTensor;
            /// `-a`.
            fn neg(a: RawTensor) -> RawTensor;
            /// `|a|`.
            fn abs(a: RawTensor) -> RawTensor;
            /// `e ^ a`.
            fn exp(a: RawTensor) -> RawTensor;
            /// Natural logarithm.
            fn log(a: RawTensor) -> RawTensor;
            /// `ln(1 + a)`.
            fn log1p(a: RawTensor) -> RawTensor;
            /// Square root.
            fn sqrt(a: RawTensor) -> RawTensor;
            /// `1 / sqrt(a)`.
            fn rsqrt(a: RawTensor) -> RawTensor;
            /// `a * a`.
            fn square(a: RawTensor) -> RawTensor;
            /// `1 / a`.
            fn reciprocal(a: RawTensor) -> RawTensor;
            /// Sine, radians.
            fn sin(a: RawTensor) -> RawTensor;
            /// Cosine, radians.
            fn cos(a: RawTensor) -> RawTensor;
            /// Hyperbolic tangent.
            fn tanh(a: RawTensor) -> RawTensor;
            /// `1 / (1 + e^-a)`.
            fn sigmoid(a: RawTensor) -> RawTensor;
            /// `max(a, 0)`.
            fn relu(a: RawTensor) -> RawTensor;
            /// Gaussian error linear unit, exact form.
            fn gelu(a: RawTensor) -> RawTensor;
            /// `a * sigmoid(a)`.
            fn silu(a: RawTensor) -> RawTensor;
            /// `ln(1 + e^a)`.
            fn softplus(a: RawTensor) -> RawTensor;
            /// Error function.
            fn erf(a: RawTensor) -> RawTensor;
            /// -1, 0 or 1.
            fn sign(a: RawTensor) -> RawTensor;
            /// Largest integer not above.
            fn floor(a: RawTensor) -> RawTensor;
            /// Nearest integer, halves to even.
            fn round(a: RawTensor) -> RawTensor;
            /// Limited to `[low, high]`.
            fn clamp(a: RawTensor, low: f64, high: f64) -> RawTensor;
            /// At least `low`.
            fn clamp_min(a: RawTensor, low: f64) -> RawTensor;
            /// At most `high`.
            fn clamp_max(a: RawTensor, high: f64) -> RawTensor;
            /// The larger of each pair.
            fn maximum(a: RawTensor, b: RawTensor) -> RawTensor;
            /// The smaller of each pair.
            fn minimum(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a + value * b * c`.
            fn addcmul(a: RawTensor, b: RawTensor, c: RawTensor, value: f64) -> RawTensor;
            /// `a + value * b / c`.
            fn addcdiv(a: RawTensor, b: RawTensor, c: RawTensor, value: f64) -> RawTensor;
            /// `a + weight * (b - a)`.
            fn lerp(a: RawTensor, b: RawTensor, weight: f64) -> RawTensor;
            /// `b` where the mask `a` holds, else `c`.
            fn select_where(a: RawTensor, b: RawTensor, c: RawTensor) -> RawTensor;
            /// `value` where the mask holds, else `a`.
            fn masked_fill(a: RawTensor, mask: RawTensor, value: f64) -> RawTensor;
            last
            /// Whether each element is finite.
            fn is_finite(a: RawTensor) -> RawTensor;
        } }
    };
}

/// Comparison and logic; results are truth values.
#[doc(hidden)]
#[macro_export]
macro_rules! compare_ops {
    ($expand:ident) => {
        $expand! {
            group CompareOps, CompareOpsRef, CompareOpsPrefix, compare;
            /// `a == b`, broadcast.
            fn eq(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a != b`, broadcast.
            fn ne(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a < b`, broadcast.
            fn lt(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a <= b`, broadcast.
            fn le(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a > b`, broadcast.
            fn gt(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a >= b`, broadcast.
            fn ge(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a == value`.
            fn eq_scalar(a: RawTensor, value: f64) -> RawTensor;
            /// `a < value`.
            fn lt_scalar(a: RawTensor, value: f64) -> RawTensor;
            /// `a > value`.
            fn gt_scalar(a: RawTensor, value: f64) -> RawTensor;
            /// Both hold.
            fn logical_and(a: RawTensor, b: RawTensor) -> RawTensor;
            /// One holds.
            fn logical_or(a: RawTensor, b: RawTensor) -> RawTensor;
            /// Does not hold.
            fn logical_not(a: RawTensor) -> RawTensor;
            /// Whether any element holds; a scalar.
            fn any(a: RawTensor) -> RawTensor;
            last
            /// Whether all elements hold; a scalar.
            fn all(a: RawTensor) -> RawTensor;
        }
    };
}

/// Products and decompositions.
#[doc(hidden)]
#[macro_export]
macro_rules! linear_ops {
    ($expand:ident) => {
        $expand! {
            group LinearOps, LinearOpsRef, LinearOpsPrefix, linear;
            /// Matrix product, batched and broadcast as in PyTorch.
            fn matmul(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `[B, n, m] x [B, m, p] -> [B, n, p]`.
            fn bmm(a: RawTensor, b: RawTensor) -> RawTensor;
            /// `a W^T`: input `[.., in]`, weight `[out, in]`, result `[.., out]`.
            fn linear(a: RawTensor, weight: RawTensor) -> RawTensor;
            /// `a W^T + bias`: bias `[out]`.
            fn linear_bias(a: RawTensor, weight: RawTensor, bias: RawTensor) -> RawTensor;
            /// `beta * a + alpha * b c` for matrices.
            fn addmm(a: RawTensor, b: RawTensor, c: RawTensor, beta: f64, alpha: f64) -> RawTensor;
            /// Outer product of two vectors.
            fn outer(a: RawTensor, b: RawTensor) -> RawTensor;
            /// Inner product of two vectors.
            fn dot(a: RawTensor, b: RawTensor) -> RawTensor;
            /// Thin singular value decomposition: `U [m, k]`, `S [k]`, `V^T [k, n]` with `k = min(m, n)`.
            fn svd(a: RawTensor) -> RawTensorTriple;
            /// Reduced QR decomposition: `Q`, `R`.
            fn qr(a: RawTensor) -> RawTensorPair;
            /// Eigenvalues, ascending, and eigenvectors of a symmetric matrix.
            fn eigh(a: RawTensor) -> RawTensorPair;
            /// Lower Cholesky factor of a positive definite matrix.
            fn cholesky(a: RawTensor) -> RawTensor;
            /// Inverse of a square matrix.
            fn inverse(a: RawTensor) -> RawTensor;
            /// Moore-Penrose inverse.
            fn pinverse(a: RawTensor) -> RawTensor;
            last
            /// `x` with `a x = b`.
            fn solve(a: RawTensor, b: RawTensor) -> RawTensor;
        }
    };
}

/// Sums, means, extremes. An empty list of dimensions means all.
#[doc(hidden)]
#[macro_export]
macro_rules! reduce_ops {
    ($expand:ident) => {
        $expand! {
            group ReduceOps, ReduceOpsRef, ReduceOpsPrefix, reduce;
            /// Sum of all elements; a scalar.
            fn sum_all(a: RawTensor) -> RawTensor;
            /// Sum over dimensions.
            fn sum(a: RawTensor, dims: Ints, keep_dims: bool) -> RawTensor;
            /// Mean of all elements; a scalar.
            fn mean_all(a: RawTensor) -> RawTensor;
            /// Mean over dimensions.
            fn mean(a: RawTensor, dims: Ints, keep_dims: bool) -> RawTensor;
            /// Variance over dimensions.
            fn variance(a: RawTensor, dims: Ints, unbiased: bool, keep_dims: bool) -> RawTensor;
            /// Largest over dimensions.
            fn amax(a: RawTensor, dims: Ints, keep_dims: bool) -> RawTensor;
            /// Smallest over dimensions.
            fn amin(a: RawTensor, dims: Ints, keep_dims: bool) -> RawTensor;
            /// Place of the largest along a dimension.
            fn argmax(a: RawTensor, dim: i64, keep_dim: bool) -> RawTensor;
            /// Place of the smallest along a dimension.
            fn argmin(a: RawTensor, dim: i64, keep_dim: bool) -> RawTensor;
            /// Running sum along a dimension.
            fn cumsum(a: RawTensor, dim: i64) -> RawTensor;
            /// `ln sum e^a` over dimensions.
            fn logsumexp(a: RawTensor, dims: Ints, keep_dims: bool) -> RawTensor;
            /// `p`-norm over dimensions.
            fn norm(a: RawTensor, p: f64, dims: Ints, keep_dims: bool) -> RawTensor;
            last
            /// Product of all elements; a scalar.
            fn product_all(a: RawTensor) -> RawTensor;
        }
    };
}

/// Shapes, views and copies.
#[doc(hidden)]
#[macro_export]
macro_rules! shape_ops {
    ($expand:ident) => {
        $expand! {
            group ShapeOps, ShapeOpsRef, ShapeOpsPrefix, shape;
            /// Same elements in another shape; one size may be -1.
            fn reshape(a: RawTensor, sizes: Ints) -> RawTensor;
            /// Swaps two dimensions.
            fn transpose(a: RawTensor, first: i64, second: i64) -> RawTensor;
            /// Reorders all dimensions.
            fn permute(a: RawTensor, dims: Ints) -> RawTensor;
            /// Drops a dimension of size 1.
            fn squeeze(a: RawTensor, dim: i64) -> RawTensor;
            /// Adds a dimension of size 1.
            fn unsqueeze(a: RawTensor, dim: i64) -> RawTensor;
            /// Repeats dimensions of size 1 without a copy; -1 keeps a size.
            fn expand(a: RawTensor, sizes: Ints) -> RawTensor;
            /// Tiles the tensor.
            fn repeat(a: RawTensor, times: Ints) -> RawTensor;
            /// Repeats each entry along a dimension.
            fn repeat_interleave(a: RawTensor, times: i64, dim: i64) -> RawTensor;
            /// `length` entries from `start` along a dimension.
            fn narrow(a: RawTensor, dim: i64, start: i64, length: i64) -> RawTensor;
            /// One entry along a dimension, which is dropped.
            fn select(a: RawTensor, dim: i64, index: i64) -> RawTensor;
            /// About equal parts along a dimension.
            fn chunk(a: RawTensor, parts: i64, dim: i64) -> RawTensorList;
            /// Parts of `size` along a dimension.
            fn split(a: RawTensor, size: i64, dim: i64) -> RawTensorList;
            /// Reversed along dimensions.
            fn flip(a: RawTensor, dims: Ints) -> RawTensor;
            /// Constant padding, pairs from the last dimension on.
            fn pad(a: RawTensor, sides: Ints, value: f64) -> RawTensor;
            /// A range of dimensions made one.
            fn flatten(a: RawTensor, start: i64, end: i64) -> RawTensor;
            /// Diagonal of a matrix, or matrix of a diagonal.
            fn diag(a: RawTensor, diagonal: i64) -> RawTensor;
            /// Lower triangle.
            fn tril(a: RawTensor, diagonal: i64) -> RawTensor;
            /// Upper triangle.
            fn triu(a: RawTensor, diagonal: i64) -> RawTensor;
            /// Zeros of the same shape, dtype and device.
            fn zeros_like(a: RawTensor) -> RawTensor;
            /// Ones of the same shape, dtype and device.
            fn ones_like(a: RawTensor) -> RawTensor;
            /// A contiguous copy where it is not contiguous yet.
            fn contiguous(a: RawTensor) -> RawTensor;
            /// A copy with its own memory.
            fn copy(a: RawTensor) -> RawTensor;
            /// Another element type.
            fn to_dtype(a: RawTensor, dtype: DType) -> RawTensor;
            /// The dtype and device of `b`.
            fn to_like(a: RawTensor, b: RawTensor) -> RawTensor;
            last
            /// The values without their history.
            fn detach(a: RawTensor) -> RawTensor;
        }
    };
}

/// Selection by index and order.
#[doc(hidden)]
#[macro_export]
macro_rules! index_ops {
    ($expand:ident) => {
        $expand! {
            group IndexOps, IndexOpsRef, IndexOpsPrefix, index;
            /// Elements picked along a dimension.
            fn gather(a: RawTensor, dim: i64, index: RawTensor) -> RawTensor;
            /// `a` with elements of `source` put at `index` along a dimension.
            fn scatter(a: RawTensor, dim: i64, index: RawTensor, source: RawTensor) -> RawTensor;
            /// `a` with elements of `source` added at `index` along a dimension.
            fn scatter_add(a: RawTensor, dim: i64, index: RawTensor, source: RawTensor) -> RawTensor;
            /// Whole slices picked along a dimension by a vector of indices.
            fn index_select(a: RawTensor, dim: i64, index: RawTensor) -> RawTensor;
            /// `a` with slices of `source` added at a vector of indices.
            fn index_add(a: RawTensor, dim: i64, index: RawTensor, source: RawTensor) -> RawTensor;
            /// Elements where the mask holds; a vector.
            fn masked_select(a: RawTensor, mask: RawTensor) -> RawTensor;
            /// The `k` largest (or smallest) along a dimension: values, indices.
            fn topk(a: RawTensor, k: i64, dim: i64, largest: bool) -> RawTensorPair;
            /// Sorted along a dimension, equal values in their order: values, indices.
            fn sort(a: RawTensor, dim: i64, descending: bool) -> RawTensorPair;
            /// Indices that sort along a dimension, equal values in their order.
            fn argsort(a: RawTensor, dim: i64, descending: bool) -> RawTensor;
            /// Places of elements that are not zero: `[n, dimensions]`.
            fn nonzero(a: RawTensor) -> RawTensor;
            last
            /// Indices as rows with a single 1: `[.., classes]`, int64.
            fn one_hot(a: RawTensor, classes: i64) -> RawTensor;
        }
    };
}

/// Layers and losses.
#[doc(hidden)]
#[macro_export]
macro_rules! nn_ops {
    ($expand:ident) => {
        $crate::grow! { $expand nn {
            group NnOps, NnOpsRef, NnOpsPrefix, nn;
            /// Softmax along a dimension.
            fn softmax(a: RawTensor, dim: i64) -> RawTensor;
            /// Logarithm of the softmax along a dimension.
            fn log_softmax(a: RawTensor, dim: i64) -> RawTensor;
            /// Mean cross-entropy of logits `[K, C]` against classes `[K]`; `ignore_index` is left out.
            fn cross_entropy(a: RawTensor, target: RawTensor, ignore_index: i64) -> RawTensor;
            /// Mean negative log-likelihood of log-probabilities `[K, C]` at classes `[K]`.
            fn nll_loss(a: RawTensor, target: RawTensor) -> RawTensor;
            /// `sum p (ln p - ln q) / rows` with `a = ln q` and `target = ln p`, both `[K, C]`.
            fn kl_divergence(a: RawTensor, target: RawTensor) -> RawTensor;
            /// Mean squared difference.
            fn mse_loss(a: RawTensor, target: RawTensor) -> RawTensor;
            /// Mean binary cross-entropy of logits against probabilities.
            fn binary_cross_entropy(a: RawTensor, target: RawTensor) -> RawTensor;
            /// Cosine of the angle along a dimension.
            fn cosine_similarity(a: RawTensor, b: RawTensor, dim: i64) -> RawTensor;
            /// Layer normalisation over the last dimension, no weights.
            fn layer_norm(a: RawTensor, epsilon: f64) -> RawTensor;
            last
            /// `a / sqrt(mean(a^2) + epsilon)` over the last dimension.
            fn rms_norm(a: RawTensor, epsilon: f64) -> RawTensor;
        } }
    };
}

/// New tensors on the compute device, and tensors made of several.
#[doc(hidden)]
#[macro_export]
macro_rules! create_ops {
    ($expand:ident) => {
        $expand! {
            group CreateOps, CreateOpsRef, CreateOpsPrefix, create;
            /// Zeros.
            fn zeros(sizes: Ints, dtype: DType) -> RawTensor;
            /// Ones.
            fn ones(sizes: Ints, dtype: DType) -> RawTensor;
            /// One value everywhere.
            fn full(sizes: Ints, value: f64, dtype: DType) -> RawTensor;
            /// Identity matrix.
            fn eye(size: i64, dtype: DType) -> RawTensor;
            /// `start, start + step, ..`, below `end`.
            fn arange(start: f64, end: f64, step: f64, dtype: DType) -> RawTensor;
            /// Joined along an existing dimension.
            fn cat(tensors: RawTensors, dim: i64) -> RawTensor;
            last
            /// Joined along a new dimension.
            fn stack(tensors: RawTensors, dim: i64) -> RawTensor;
        }
    };
}
