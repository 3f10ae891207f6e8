//! Map files of GetFile: what is accepted can be asked for, and names a file below the folder or an absolute one.
#![no_main]

use std::path::Path;

use bank_vault::service::getfile::rules::map::FileMap;
use bank_vault::service::getfile::wire::request::RequestPath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let folder = Path::new("/folder");
    let Ok(map) = FileMap::parse(data, folder) else { return };
    for line in data.split(|byte| *byte == b'\n') {
        let Some(space) = line.iter().position(|byte| *byte == b' ') else {
            assert!(matches!(line, b"" | b"\r"), "a line that says nothing");
            continue;
        };
        let path = RequestPath::new(&line[..space]).expect("it was accepted");
        assert!(!path.climbs());
        let file = map.file(path).expect("it is there");
        assert!(file.is_absolute() && (line.get(space + 1) == Some(&b'/') || file.starts_with(folder)));
    }
});
