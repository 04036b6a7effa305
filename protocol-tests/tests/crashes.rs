//! Every input that ever broke a promise, through the target that it broke.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::{fs, path::Path};

use protocol_tests::fuzz::Target;

#[test]
fn crashes_of_the_past_stay_past() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/crashes");
    let mut replayed = 0;
    for entry in folder.read_dir().unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let target =
            Target::named(&name).unwrap_or_else(|| panic!("fixtures/crashes/{name} is of no target"));
        for file in entry.path().read_dir().unwrap() {
            let file = file.unwrap().path();
            // Shown when it fails: which one it was.
            eprintln!("{}", file.display());
            (target.run)(&fs::read(&file).unwrap());
            replayed += 1;
        }
    }
    assert!(replayed > 0, "nothing was replayed");
}
