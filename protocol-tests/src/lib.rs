//! What Milena promises, checked.
