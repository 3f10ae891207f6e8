//! Small text files: one statement a line, with the checksum of all lines above as the last.

use std::fmt::Write;
use std::path::Path;

use super::disk::Disk;
use super::error::{DiskError, Step, if_found};

/// The largest such file.
const MOST_BYTES: u64 = 16 << 20;
const CHECKSUM: &str = "crc32 ";

/// Ends `lines`, each of which ends with a line feed, with their checksum.
pub(super) fn seal(mut lines: String) -> String {
    let crc = crc32fast::hash(lines.as_bytes());
    // Writing to a String cannot fail.
    _ = writeln!(lines, "{CHECKSUM}{crc:08x}");
    lines
}

/// The lines above the checksum; what is wrong, where they are not whole.
pub(super) fn unseal(text: &str) -> Result<&str, &'static str> {
    let end = text.rfind(CHECKSUM).ok_or("its checksum is missing")?;
    let (lines, crc) = text.split_at(end);
    let right = crc == format!("{CHECKSUM}{:08x}\n", crc32fast::hash(lines.as_bytes()));
    if right { Ok(lines) } else { Err("its checksum is wrong") }
}

/// The text of a small file, if there is one; what is wrong, where it is none.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Result<String, &'static str>>, DiskError> {
    let Some(file) = if_found(disk.open(path)).step("open", path)? else { return Ok(None) };
    let length = file.size().step("measure", path)?;
    if length > MOST_BYTES {
        return Ok(Some(Err("it is larger than 16 MiB")));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let filled = file.read_at(&mut bytes, 0).step("read", path)?;
    bytes.truncate(filled);
    Ok(Some(String::from_utf8(bytes).map_err(|_| "it is not text")))
}
