//! What a worker tells the master about connections that it has closed or gives back.

/// One connection that a worker is done with. What it did with it, the slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseNotice {
    /// Its slot; [`ReleaseNotice::ROOM`] says that there is room in the lane again.
    pub slot: u32,
    /// Which of the connections that the slot has had.
    pub generation: u32,
}

impl ReleaseNotice {
    /// Bytes of one in a message.
    pub const BYTES: usize = 8;
    /// As many as one message carries.
    pub const MOST: usize = 128;
    /// No connection: the lane, which was full, has room again.
    pub const ROOM: ReleaseNotice = ReleaseNotice { slot: u32::MAX, generation: 0 };

    /// As it is sent, in the machine's own byte order: it never leaves the machine.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        (u64::from(self.slot) | u64::from(self.generation) << 32).to_ne_bytes()
    }

    /// Reads one.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "cut into its halves")]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let word = u64::from_ne_bytes(bytes);
        ReleaseNotice { slot: word as u32, generation: (word >> 32) as u32 }
    }
}
