//! What the server does for those who connect: rules meet resources here, no socket and no event loop.

pub mod users;
