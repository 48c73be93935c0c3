//! What the tests against a real kernel share. Each test crate uses a part of it.
#![allow(dead_code, reason = "each test crate uses a part")]

pub mod attack;
pub mod cases;
pub mod disk;
pub mod dump;
pub mod faults;
pub mod flows;
pub mod neighbours;
pub mod sandbox;
pub mod shim;

pub use sandbox::Sandbox;
