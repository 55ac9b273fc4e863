//! Results, tables and reports. Every report is a function of [`results::Results`] alone, so that a finished run can be rendered again.

pub mod against;
pub mod csv;
pub mod difference;
pub mod format;
pub mod html;
pub mod latex;
pub mod markdown;
pub mod published;
pub mod results;
pub mod summary;
pub mod tables;
