//! The side of the agents: enrolment, links and what is decided on them, log streams, the certificate authority.
//!
//! [`link`] keeps a session, [`link::core`] decides in it; [`logs`] carries what pods say to readers, across gateways where a session
//! is at another one ([`gateways`]); [`enrol`] and [`ca`] make identities, [`authority`] keeps the roots; [`hub`] knows who is here.

pub mod authority;
pub mod ca;
pub mod enrol;
pub mod gateways;
pub mod hub;
pub mod link;
pub mod logs;
pub mod upgrade;
