//! How fast letters are personalised: `make bench-letters`.
