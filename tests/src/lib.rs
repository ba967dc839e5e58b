//! Nothing of its own: what is here are the whole-system tests beside it, in `tests/`.
