//! Results, tables and reports.
