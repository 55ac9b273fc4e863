//! The run configuration: as written, then resolved.
