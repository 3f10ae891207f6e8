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

#[cfg(test)]
mod tests {
    use super::super::disk::forgetful::Forgetful;
    use super::*;

    #[test]
    fn a_file_is_read_up_to_sixteen_mebibytes_if_it_is_text() {
        let (disk, path) = (Forgetful::default(), Path::new("/file"));
        assert_eq!(read(&disk, path).unwrap(), None);
        let file = disk.create(path).unwrap();
        file.write_at(b"line\n", 0).unwrap();
        assert_eq!(read(&disk, path).unwrap(), Some(Ok("line\n".to_owned())));
        file.write_at(b" ", (16 << 20) - 1).unwrap();
        let longest = read(&disk, path).unwrap().unwrap();
        assert_eq!(longest.map(|text| text.len()), Ok(16 << 20));
        file.write_at(b" ", 16 << 20).unwrap();
        assert_eq!(read(&disk, path).unwrap(), Some(Err("it is larger than 16 MiB")));
        disk.create(path).unwrap().write_at(&[0xff], 0).unwrap();
        assert_eq!(read(&disk, path).unwrap(), Some(Err("it is not text")));
    }

    #[test]
    fn what_is_sealed_is_what_is_unsealed() {
        let sealed = seal("one\ntwo\n".to_owned());
        assert_eq!(sealed, "one\ntwo\ncrc32 12ba0be6\n");
        assert_eq!(unseal(&sealed), Ok("one\ntwo\n"));
        assert_eq!(unseal("one\ntwo\n"), Err("its checksum is missing"));
        assert_eq!(unseal(&sealed.replace("two", "tow")), Err("its checksum is wrong"));
        assert_eq!(unseal(&format!("{sealed}three\n")), Err("its checksum is wrong"));
    }
}
