//! Inner loops over numbers that are waited for, where libtorch has no good one. They know slices alone, and are in a package of their
//! own because the host is compiled with little optimisation.

pub mod draws;
pub mod few_rows;
