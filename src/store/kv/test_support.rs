//! What the tests of this room share: tables, writes to them, and processes that die at them.
