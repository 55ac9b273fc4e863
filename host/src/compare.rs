//! The grid: methods x orders x seeds, run in worker processes, gathered into one result.
