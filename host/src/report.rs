//! Results, tables and reports.

pub mod results;
