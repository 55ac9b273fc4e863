//! The task stream: tasks, orders, stages, and the named random streams everything draws from.

pub mod random;
