//! Why a packet passes or not, from the model alone: one packet and its answer walk over the very ops that are made in the kernel.
//!
//! Nothing here says a second time what a VPC is. [`net::Machine`] takes the ops of a state (rules, routes, neighbours, sets,
//! forwarding entries, translations) as they are rendered, [`walk::Walk`] does with a packet what the kernel does with it, and
//! [`answer`] asks for one connection, forth and back. Only then is the state asked again: [`cause`] says in an operator's words
//! what the step that stopped the packet is about, and [`fix`] which edits would open it, tried on the model.
//!
//! The same walker traces packets through the test kernel, which is made by the rendered lines, and through a policy's chains: what
//! it says is compared there with what the state says, and in sandboxes with real packets.

pub mod answer;
pub mod cause;
pub mod chains;
pub mod fix;
mod host;
pub mod net;
pub mod packet;
pub mod reading;
pub mod walk;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Model, Question, Verdict};
