//! Handles and borrowed slices: the argument types of the functions that cross the border.

use abi_stable::StableAbi;
use abi_stable::std_types::{RVec, Tuple2, Tuple3};

/// A tensor that the host owns, by address. Zero stands for "no tensor".
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTensor(pub usize);

impl RawTensor {
    /// No tensor, where one is optional.
    pub const NONE: RawTensor = RawTensor(0);

    /// Whether this stands for "no tensor".
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Several owned tensors.
pub type RawTensorList = RVec<RawTensor>;
/// Two owned tensors.
pub type RawTensorPair = Tuple2<RawTensor, RawTensor>;
/// Three owned tensors.
pub type RawTensorTriple = Tuple3<RawTensor, RawTensor, RawTensor>;

/// What a service call refers to: the run of one hook. The host gives a fresh one with each call of a hook and refuses it afterwards.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context(pub u64);

/// Element type of a tensor. Open: a host may know more than these.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct DType(pub u8);

impl DType {
    /// 32-bit floating point.
    pub const FLOAT: DType = DType(0);
    /// 16-bit floating point, eight exponent bits.
    pub const BFLOAT16: DType = DType(1);
    /// 16-bit floating point, five exponent bits.
    pub const HALF: DType = DType(2);
    /// 64-bit floating point.
    pub const DOUBLE: DType = DType(3);
    /// 64-bit signed integer.
    pub const INT64: DType = DType(4);
    /// Truth values.
    pub const BOOL: DType = DType(5);
}

macro_rules! borrowed_slice {
    ($(#[$doc:meta])* $Name:ident, $Item:ty) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(StableAbi, Clone, Copy)]
        pub struct $Name {
            pointer: *const $Item,
            length: usize,
        }

        impl $Name {
            /// Borrows `items` for the length of one call.
            pub fn borrow(items: &[$Item]) -> Self {
                $Name { pointer: items.as_ptr(), length: items.len() }
            }

            /// The borrowed items.
            ///
            /// # Safety
            /// The slice this was made from must still be alive: true inside the call it was passed to.
            pub unsafe fn as_slice<'a>(self) -> &'a [$Item] {
                // SAFETY: made from a slice by `borrow`; the caller vouches for its life.
                unsafe { std::slice::from_raw_parts(self.pointer, self.length) }
            }
        }
    };
}

borrowed_slice!(/// Integers borrowed for one call.
    Ints, i64);
borrowed_slice!(/// Floating point numbers borrowed for one call.
    Floats, f32);
borrowed_slice!(/// Bytes borrowed for one call.
    Bytes, u8);
borrowed_slice!(/// UTF-8 text borrowed for one call.
    Text, u8);
borrowed_slice!(/// Tensors borrowed for one call.
    RawTensors, RawTensor);
