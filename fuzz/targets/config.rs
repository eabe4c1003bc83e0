//! Configuration files: any text gives settings or problems, each in words, and never a panic.
#![no_main]

use std::{cell::RefCell, fs};

use hookgate::config::{Sources, load_with_warnings};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> =
        RefCell::new(tempfile::tempdir().expect("there is room for a folder"));
}

fuzz_target!(|data: &[u8]| {
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join("config.yaml");
        fs::write(&path, data).expect("the folder takes a file");
        let sources = Sources { config: Some(path), ..Sources::default() };
        let (settings, _) = load_with_warnings(&sources);
        if let Err(problems) = settings {
            assert!(!problems.is_empty(), "refused without a reason");
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
    });
});
