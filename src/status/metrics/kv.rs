//! The metrics of the key-value store's table. Where there is none, they are not there.

use super::exposition::Type::Gauge;
use super::exposition::{Exposition, Of};
use crate::status::kv::KvTable;

const OF_TABLE: &[Of<KvTable>] = &[
    ("vault_kv_keys", Gauge, "Keys.", |t| t.keys),
    ("vault_kv_blocks", Gauge, "Blocks that keys and values take.", |t| t.blocks),
    ("vault_kv_capacity_blocks", Gauge, "Blocks that there are, and the most keys that there may be.", |t| t.capacity),
    ("vault_kv_free_blocks", Gauge, "Blocks that nothing has now.", |t| t.free_blocks),
];

/// Writes them.
pub(super) fn of_kv_table(out: &mut Exposition, table: &KvTable) {
    out.of_one(table, OF_TABLE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Sample, metrics};

    #[test]
    fn they_are_there_where_there_is_a_table() {
        let with = |kv| metrics(&Sample { kv, ..Sample::default() });
        assert!(!with(None).contains("vault_kv_keys"));
        let text = with(Some(KvTable { keys: 7, blocks: 9, capacity: 100, free_blocks: 91, block_bytes: 256 }));
        for line in ["vault_kv_keys 7", "vault_kv_blocks 9", "vault_kv_capacity_blocks 100", "vault_kv_free_blocks 91"]
        {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
