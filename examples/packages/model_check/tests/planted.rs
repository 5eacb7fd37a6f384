//! The planted bugs still fit the code. Whether they are found takes longer: `cargo run --bin planted`.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use leasehold_model_check::{
    budgets,
    planted::{bugs, plant},
};

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy(&from, &to)? } else { fs::copy(&from, &to).map(|_| ())? }
    }
    Ok(())
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Each takes the place of what stands in the code exactly once, has a name of its own, and names a check that there is.
#[test]
fn every_bug_can_be_planted() {
    let bugs = bugs();
    let names: BTreeSet<_> = bugs.iter().map(|bug| &bug.name).collect();
    assert!(bugs.len() >= 20 && names.len() == bugs.len());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    for check in bugs.iter().flat_map(|bug| [Some(&bug.check), bug.also.as_ref()]).flatten() {
        match check.split_once(' ') {
            Some(("model", name)) => {
                assert!(budgets::ALL.iter().any(|(known, ..)| *known == name), "{check}")
            }
            Some(("lib", _)) => {}
            other => {
                let file = other.map_or(check.as_str(), |(file, _)| file);
                let tests = root.join("tests");
                assert!(tests.join(file).is_dir() || tests.join(format!("{file}.rs")).is_file(), "{check}");
            }
        }
    }
    let folder = Folder(std::env::temp_dir().join(format!("leasehold-fits-{}", std::process::id())));
    copy(&root.join("src"), &folder.0.join("src")).expect("a copy");
    plant(&folder.0, &bugs).expect("every bug fits");
}
