//! The policy as it is lived: a real daemon in system mode, its configuration in a file, and connections of real
//! users, groups and units.

mod matrix;
mod stage;
