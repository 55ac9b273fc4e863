//! The groups of typed operations, expanded from the table.

use abi_stable::StableAbi;

use super::error::ApiResult;
use super::handle::{DType, Ints, RawTensor, RawTensorList, RawTensorPair, RawTensorTriple, RawTensors};

/// A row of the operation reference.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Group, for example `math`.
    pub group: &'static str,
    /// Name of the operation and of the method.
    pub name: &'static str,
    /// Arguments and result as in the table.
    pub signature: &'static str,
    /// What it computes.
    pub doc: &'static str,
}

macro_rules! define_group {
    (
        group $Group:ident, $Ref:ident, $Prefix:ident, $name:ident;
        $( $(#[doc = $doc:literal])+ fn $op:ident ( $($argument:ident : $Type:ident),* ) -> $Return:ident; )*
        last
        $(#[doc = $last_doc:literal])+ fn $last_op:ident ( $($last_argument:ident : $LastType:ident),* ) -> $LastReturn:ident;
        $( later $(#[doc = $later_doc:literal])+ fn $later_op:ident ( $($later_argument:ident : $LaterType:ident),* ) -> $LaterReturn:ident; )*
    ) => {
        #[doc = concat!("The group `", stringify!($name), "`. `[thread]`: any thread that owns the arguments.")]
        #[repr(C)]
        #[derive(StableAbi)]
        #[sabi(kind(Prefix(prefix_ref = $Ref, prefix_fields = $Prefix)))]
        pub struct $Group {
            $( $(#[doc = $doc])+ pub $op: extern "C" fn($($Type),*) -> ApiResult<$Return>, )*
            $(#[doc = $last_doc])+
            #[sabi(last_prefix_field)]
            pub $last_op: extern "C" fn($($LastType),*) -> ApiResult<$LastReturn>,
            $( $(#[doc = $later_doc])+ pub $later_op: extern "C" fn($($LaterType),*) -> ApiResult<$LaterReturn>, )*
        }

        impl $Group {
            /// The rows of the operation reference.
            pub const OPERATIONS: &'static [Operation] = &[
                $( Operation {
                    group: stringify!($name),
                    name: stringify!($op),
                    signature: concat!("(", $(stringify!($argument), ": ", stringify!($Type), ", ",)* ") -> ", stringify!($Return)),
                    doc: concat!($($doc),+),
                }, )*
                Operation {
                    group: stringify!($name),
                    name: stringify!($last_op),
                    signature: concat!("(", $(stringify!($last_argument), ": ", stringify!($LastType), ", ",)* ") -> ", stringify!($LastReturn)),
                    doc: concat!($($last_doc),+),
                },
                $( Operation {
                    group: stringify!($name),
                    name: stringify!($later_op),
                    signature: concat!("(", $(stringify!($later_argument), ": ", stringify!($LaterType), ", ",)* ") -> ", stringify!($LaterReturn)),
                    doc: concat!($($later_doc),+),
                }, )*
            ];
        }
    };
}

math_ops!(define_group);
compare_ops!(define_group);
linear_ops!(define_group);
reduce_ops!(define_group);
shape_ops!(define_group);
index_ops!(define_group);
nn_ops!(define_group);
create_ops!(define_group);

/// The reference of all typed operations, in the order of the table.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    [
        MathOps::OPERATIONS,
        CompareOps::OPERATIONS,
        LinearOps::OPERATIONS,
        ReduceOps::OPERATIONS,
        ShapeOps::OPERATIONS,
        IndexOps::OPERATIONS,
        NnOps::OPERATIONS,
        CreateOps::OPERATIONS,
    ]
    .into_iter()
    .flatten()
}
