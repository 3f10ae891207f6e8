//! Paths as people see them. They are bytes, of which clients choose any, so none of them goes to a terminal as it is.

/// The path in printable characters, none of which stands for two things; within `$'…'`, bash makes the bytes of it again.
pub(super) fn escaped(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            // Rust's debug form leaves a character alone if it can be printed.
            let is_printable = !character.is_ascii() && character.escape_debug().eq([character]);
            if is_printable {
                text.push(character);
            } else {
                text.extend(character.encode_utf8(&mut [0; 4]).as_bytes().escape_ascii().map(char::from));
            }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_could_take_for_something_else_is_escaped() {
        for (path, shown) in [
            (&b"/a/b.jpg"[..], "/a/b.jpg"),
            ("/Käse/目".as_bytes(), "/Käse/目"),
            (b"/\x1b[2J", r"/\x1b[2J"),
            (b"/a\\b'c\"", r#"/a\\b\'c\""#),
            (b"/\xff\xc3", r"/\xff\xc3"),
            // It would turn the line around.
            ("/\u{202e}gpj".as_bytes(), r"/\xe2\x80\xaegpj"),
        ] {
            assert_eq!(escaped(path), shown);
        }
    }
}
