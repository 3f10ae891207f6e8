//! The identity of a cluster.

use std::fmt;

/// Bytes of a cluster's identity.
pub const CLUSTER_ID_BYTES: usize = 16;

/// The identity of a cluster, drawn at random by the member that founds it; never all zero.
///
/// Members of two clusters never take each other for peers, even where they share a secret and addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId([u8; CLUSTER_ID_BYTES]);

impl ClusterId {
    /// The identity of these bytes; `None` for zeros, which stand for "none yet" on the wire and on disk.
    #[must_use]
    pub fn new(bytes: [u8; CLUSTER_ID_BYTES]) -> Option<Self> {
        (bytes != [0; CLUSTER_ID_BYTES]).then_some(ClusterId(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; CLUSTER_ID_BYTES] {
        &self.0
    }
}

/// Thirty-two hex digits.
impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_nobodys() {
        assert_eq!(ClusterId::new([0; CLUSTER_ID_BYTES]), None);
        let id = ClusterId::new([0xAB, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).unwrap();
        assert_eq!(id.to_string(), "ab000000000000000000000000000001");
    }
}
