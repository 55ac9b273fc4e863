//! The host of continual-learning method plugins: it owns the backbone, the training loop, the data, the evaluation and the report.

pub mod bench;
pub mod cli;
pub mod compare;
pub mod config;
pub mod conformance;
pub mod data;
pub mod doctor;
pub mod eval;
pub mod files;
pub mod judge;
pub mod kept;
pub mod model;
pub mod ops;
pub mod plugin;
pub mod quickstart;
pub mod report;
pub mod stop;
pub mod stream;
pub mod time;
pub mod train;
pub mod verification;
pub mod web;
