//! Evaluation: answering, scoring, the accuracy matrix and what is computed from it.
