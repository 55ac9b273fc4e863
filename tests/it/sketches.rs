//! The methods that pull the border of plugins in all directions, as plugins, on the tiny backbone: each against its formula written
//! with tch, alone and with another strategy; interrupted and gone on with; with layers computed twice. The plugins are those shipped
//! and those in `tests/sketches`.

mod context;
mod formula;
mod interruption;
mod methods;
mod native;
mod recomputation;
mod strategies;
pub(crate) mod stream;
mod trace;
