//! Commands and how things print.
