//! The bank's side of a worker: `desk` gives each connection its turns, `answer` answers its requests, `errands` does what may
//! block, in the threads of `clerks`, `pages` reads statements, `held` keeps replies back until what they show is durable.

mod answer;
mod clerks;
mod desk;
mod errands;
mod guest;
mod held;
mod pages;

pub use answer::Counter;
pub use clerks::Clerks;
pub use desk::Desk;
pub use errands::{Office, Waiting};
pub use guest::{Allowance, Guest};
pub use held::Line;
