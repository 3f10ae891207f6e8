//! Memory for contents, of which there may not be enough.

use std::io;

/// Memory for so many bytes.
///
/// # Errors
/// `OutOfMemory`.
pub fn reserved(length: u64) -> io::Result<Vec<u8>> {
    let mut memory = Vec::new();
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    memory.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    Ok(memory)
}
