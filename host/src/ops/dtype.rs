//! Element types: the border's numbers, libtorch's kinds and the names in messages.

use anyhow::{Result, bail};
use coin_plugin_api::DType;
use tch::Kind;

/// The kind a number of the border stands for.
pub(super) fn kind(dtype: DType) -> Result<Kind> {
    Ok(match dtype {
        DType::FLOAT => Kind::Float,
        DType::BFLOAT16 => Kind::BFloat16,
        DType::HALF => Kind::Half,
        DType::DOUBLE => Kind::Double,
        DType::INT64 => Kind::Int64,
        DType::BOOL => Kind::Bool,
        DType(other) => bail!("this host knows no dtype {other}"),
    })
}

/// The number of the border for a kind.
pub(super) fn dtype(kind: Kind) -> Result<DType> {
    Ok(match kind {
        Kind::Float => DType::FLOAT,
        Kind::BFloat16 => DType::BFLOAT16,
        Kind::Half => DType::HALF,
        Kind::Double => DType::DOUBLE,
        Kind::Int64 => DType::INT64,
        Kind::Bool => DType::BOOL,
        other => {
            bail!("dtype {} has no number at the plugin border\nhint: convert with to_dtype", name(other))
        }
    })
}

/// The name of a kind in messages, as in PyTorch but for the bits of `float`.
pub(super) fn name(kind: Kind) -> String {
    format!("{kind:?}").to_lowercase()
}
