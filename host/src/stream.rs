//! The task stream: tasks, orders, stages.
