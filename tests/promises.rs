//! `docs/promises.md` says what stands for each invariant, and is what the repository holds: tests and properties by the invariant
//! that their comment cites, rules of the model checker, fuzz bodies, and planted bugs by the test that finds them.
//!
//! `./run promises` writes the page again.
#![allow(clippy::disallowed_methods, reason = "a test looks at the environment and at files")]

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// Which fuzz bodies search for a breach of which invariants, beside 11, for which all of them do.
const BODIES: &[(u8, &[&str])] = &[
    (4, &["appraisal", "attachments"]),
    (
        9,
        &[
            "egress_url_and_policy",
            "egress_paths",
            "egress_host_rules",
            "egress_address_literals",
            "egress_policies",
        ],
    ),
    (10, &["egress_header_rules"]),
    (14, &["dispatch_frames"]),
];

/// A function with `#[test]`.
struct Test {
    /// The test target, or `lib`.
    target: String,
    /// Relative to the root.
    file: String,
    name: String,
    property: bool,
    cites: BTreeSet<u8>,
}

/// The invariants that `text` cites: `invariant 5`, `Invariants 1, 2 and 8`, `invariants 1 to 8`.
fn cited(text: &str) -> BTreeSet<u8> {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c == '(' || c == ')').collect();
    let mut found = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        if !matches!(word.to_lowercase().as_str(), "invariant" | "invariants") {
            continue;
        }
        let (mut last, mut range) = (None, false);
        for word in words.iter().skip(at + 1).filter(|word| !word.is_empty()) {
            let number = word.trim_end_matches([',', '.', ':', ';', '"']).parse().ok();
            match (number, *word) {
                (Some(number @ 1..=15), _) => {
                    let from = last.filter(|_| range).unwrap_or(number);
                    found.extend(from..=number);
                    (last, range) = (Some(number), false);
                    if word.ends_with(['.', ':', ';', '"']) {
                        break;
                    }
                }
                (_, "and" | "or") if last.is_some() => {}
                (_, "to") if last.is_some() => range = true,
                _ => break,
            }
        }
    }
    found
}

fn sources(root: &Path, folder: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    let mut left = vec![root.join(folder)];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|ends| ends == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The tests of one file. A test without a citation of its own has that of its file.
fn tests(root: &Path, path: &Path) -> Result<Vec<Test>, Box<dyn Error>> {
    let file = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
    let target = match file.strip_prefix("tests/") {
        Some(below) => below.split(['/', '.']).next().unwrap_or_default().to_owned(),
        None => "lib".into(),
    };
    let text = fs::read_to_string(path)?;
    let head: String = text.lines().filter_map(|line| line.strip_prefix("//!")).collect();
    let (of_file, mut found) = (cited(&head), Vec::<Test>::new());
    let (mut comment, mut is_test) = (String::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("///") {
            comment.push_str(words);
        } else if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
            let own = cited(&comment);
            found.push(Test {
                target: target.clone(),
                file: file.clone(),
                name: rest.split(['(', '<']).next().unwrap_or_default().to_owned(),
                property: rest.contains(" in "),
                cites: if own.is_empty() { of_file.clone() } else { own },
            });
        } else if let Some(last) = found.last_mut() {
            // Arguments of a property may stand below its name; a runner is a property spelled out.
            let drawn = line.ends_with(',') && line.contains(" in ") && !line.starts_with("//");
            last.property |= drawn || line.contains("TestRunner::new") || line.contains("proptest!(");
        }
        if !line.starts_with("///") && !line.starts_with("#[") {
            (comment, is_test) = (String::new(), false);
        }
    }
    Ok(found)
}

/// The invariants in their order, each to its end.
fn invariants(root: &Path) -> Result<BTreeMap<u8, String>, Box<dyn Error>> {
    let text = fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    let (_, from) = text.split_once("## Invariants\n").ok_or("ARCHITECTURE.md has invariants")?;
    let (list, _) = from.split_once("\nAfter ").ok_or("and says what holds after a restore")?;
    let mut found = BTreeMap::<u8, String>::new();
    for line in list.lines() {
        let numbered = line.split_once(". ").and_then(|(number, says)| Some((number.parse().ok()?, says)));
        match (numbered, found.last_entry()) {
            (Some((number, says)), _) => drop(found.insert(number, says.to_owned())),
            (None, Some(mut last)) if !line.trim().is_empty() => {
                *last.get_mut() += &format!(" {}", line.trim())
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Each planted bug, with the invariants that the test which finds it cites.
fn planted(root: &Path, tests: &[Test]) -> Result<Vec<(String, BTreeSet<u8>)>, Box<dyn Error>> {
    let text = fs::read_to_string(root.join("examples/packages/model_check/planted.toml"))?;
    let (mut found, mut bug) = (Vec::new(), String::new());
    for line in text.lines() {
        let value = |name: &str| Some(line.strip_prefix(name)?.strip_prefix(" = \"")?.trim_end_matches('"'));
        if let Some(name) = value("name") {
            name.clone_into(&mut bug);
        } else if let Some(check) = value("check") {
            let (target, name) = check.split_once(' ').unwrap_or((check, ""));
            let finds = |test: &&Test| {
                let whole = format!("{}::{}", test.file, test.name);
                test.target == target && whole.contains(name)
            };
            let cites: BTreeSet<u8> =
                tests.iter().filter(finds).flat_map(|test| test.cites.clone()).collect();
            assert!(tests.iter().any(|test| finds(&test)), "{bug}: no test is called `{check}`");
            found.push((bug.clone(), cites));
        }
    }
    Ok(found)
}

/// How many rules of the model checker are told by each invariant.
fn rules(root: &Path) -> Result<BTreeMap<u8, usize>, Box<dyn Error>> {
    let mut found = BTreeMap::new();
    for path in sources(root, "examples/packages/model_check/src")? {
        for line in fs::read_to_string(path)?.lines() {
            let Some((_, says)) = line.split_once("\"invariant ") else { continue };
            for number in cited(&format!("invariant {says}")) {
                *found.entry(number).or_default() += 1;
            }
        }
    }
    Ok(found)
}

fn page(root: &Path, tests: &[Test]) -> Result<String, Box<dyn Error>> {
    let (bugs, rules, invariants) = (planted(root, tests)?, rules(root)?, invariants(root)?);
    let bodies = |number: u8| match number {
        11 => leasehold::testing::fuzz::bodies().iter().map(|body| body.name).collect(),
        _ => BODIES.iter().filter(|row| row.0 == number).flat_map(|row| row.1).copied().collect::<Vec<_>>(),
    };
    let mut page = String::from(
        "# What stands for each promise\n\n\
         Written by `./run promises` from the sources, and held true by `tests/promises.rs`. A test counts for an invariant if its \
         comment cites it; a planted bug counts for the invariants of the test that finds it (`./run planted`); a rule of the model \
         checker is checked in every state that `./run model` reaches; a fuzz body is in `testing::fuzz`. The promises in the words of \
         users, each with its invariant, are in `SECURITY.md`.\n\n\
         | invariant | tests | of these properties | rules of the model checker | fuzz bodies | planted bugs |\n\
         |---|---|---|---|---|---|\n",
    );
    let mut lists = String::new();
    for (number, says) in &invariants {
        let own: Vec<&Test> = tests.iter().filter(|test| test.cites.contains(number)).collect();
        let found: Vec<&str> =
            bugs.iter().filter(|bug| bug.1.contains(number)).map(|bug| bug.0.as_str()).collect();
        writeln!(
            page,
            "| [{number}](#invariant-{number}) | {} | {} | {} | {} | {} |",
            own.len(),
            own.iter().filter(|test| test.property).count(),
            rules.get(number).copied().unwrap_or_default(),
            bodies(*number).len(),
            found.len()
        )?;
        write!(lists, "\n## Invariant {number}\n\n{says}\n\n")?;
        let mut files = BTreeMap::<&str, Vec<String>>::new();
        for test in own {
            let mark = if test.property { " (property)" } else { "" };
            files.entry(&test.file).or_default().push(format!("`{}`{mark}", test.name));
        }
        for (file, names) in files {
            writeln!(lists, "* `{file}`: {}", names.join(", "))?;
        }
        for (what, names) in [("Fuzz bodies", bodies(*number)), ("Planted bugs", found)] {
            if !names.is_empty() {
                writeln!(lists, "* {what}: `{}`", names.join("`, `"))?;
            }
        }
    }
    Ok(page + &lists)
}

fn all_tests(root: &Path) -> Result<Vec<Test>, Box<dyn Error>> {
    let mut found = Vec::new();
    for path in sources(root, "src")?.into_iter().chain(sources(root, "tests")?) {
        found.extend(tests(root, &path)?);
    }
    assert!(found.len() > 500, "the tests are there: {}", found.len());
    Ok(found)
}

/// Every invariant has tests, every promise of SECURITY.md has an invariant, and the files that it names as its proof have tests that
/// cite it.
#[test]
fn every_promise_has_its_proof() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (tests, invariants) = (all_tests(root)?, invariants(root)?);
    assert!(invariants.keys().copied().eq(1..=15), "{invariants:?}");
    for number in invariants.keys() {
        let count = tests.iter().filter(|test| test.cites.contains(number)).count();
        assert!(count >= 3, "{count} tests cite invariant {number}");
    }
    let security = fs::read_to_string(root.join("SECURITY.md"))?;
    let rows: Vec<Vec<&str>> = security
        .lines()
        .filter(|line| line.starts_with("| ") && line.ends_with(" |"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .filter(|row: &Vec<&str>| row.first() != Some(&"promise"))
        .collect();
    assert!(rows.len() >= 15, "{rows:?}");
    let mut missing = Vec::new();
    for row in &rows {
        let [promise, numbers, proofs] = row.as_slice() else { panic!("{row:?} has three columns") };
        let due: BTreeSet<u8> = cited(&format!("invariants {}", numbers.replace(',', " and")));
        assert!(!due.is_empty(), "`{promise}` has an invariant");
        for proof in proofs.split(", ").map(|proof| proof.trim_matches('`')) {
            let cites = |test: &Test| test.file.starts_with(proof) && !test.cites.is_disjoint(&due);
            // What is replayed and fuzzed is no Rust file.
            let is_data = ["tests/corpus", "fuzz"].contains(&proof);
            if !is_data && !tests.iter().any(cites) {
                missing.push(format!("no test of {proof} cites {due:?}: `{promise}`"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    Ok(())
}

/// The page is what the sources say. A packed crate has not all of them.
#[test]
fn the_page_of_promises_is_true() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join("examples/packages").is_dir() {
        return Ok(());
    }
    let (file, due) = (root.join("docs/promises.md"), page(root, &all_tests(root)?)?);
    if std::env::var_os("LEASEHOLD_BLESS").is_some() {
        fs::write(&file, &due)?;
    }
    assert!(
        fs::read_to_string(&file)? == due,
        "docs/promises.md is not what the sources say: `./run promises`"
    );
    Ok(())
}

/// The rows of the attack catalogue that `text` names: `Attack F5`, `attacks P1 to P6`, `Attacks E2, E3`, `fn f5_...`.
fn attacks(text: &str) -> BTreeSet<String> {
    let row = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let (family, number) = word.split_at_checked(1)?;
        let number: u8 = number.parse().ok().filter(|number| *number < 100)?;
        "FAPDES".contains(family).then(|| (family.to_owned(), number))
    };
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("fn ") {
            let parts = name.split(['_', '(']).map_while(|part| row(&part.to_uppercase()));
            found.extend(parts.map(|(family, number)| format!("{family}{number}")));
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        for (at, word) in words.iter().enumerate() {
            let word = word.trim_start_matches('(').to_lowercase();
            if word != "attack" && word != "attacks" {
                continue;
            }
            let (mut last, mut range) = (None::<u8>, false);
            for word in words.iter().skip(at + 1) {
                match (row(word), *word) {
                    (Some((family, number)), _) => {
                        let from = last.filter(|_| range).unwrap_or(number);
                        found.extend((from..=number).map(|number| format!("{family}{number}")));
                        (last, range) = (Some(number), false);
                        if word.ends_with(['.', ':', ';', ')']) {
                            break;
                        }
                    }
                    (None, "and") => {}
                    (None, "to") => range = true,
                    _ => break,
                }
            }
        }
    }
    found
}

/// Each row of the attack catalogue has a test that names it, and no test names a row that is not there. The tests of sockets
/// and clients lie in packages that a packed crate does not have.
#[test]
fn every_attack_has_a_test() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let catalogue = fs::read_to_string(root.join("docs/attacks.md"))?;
    let rows: Vec<&str> = catalogue
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .filter(|row| row.len() <= 3 && row.ends_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert!(rows.len() == 77, "{}", rows.len());
    let mut named = BTreeSet::new();
    for folder in ["src", "tests", "examples"] {
        for path in sources(root, folder)?.iter().filter(|path| !path.ends_with("tests/promises.rs")) {
            named.extend(attacks(&fs::read_to_string(path)?));
        }
    }
    let missing: Vec<_> = rows.iter().filter(|row| !named.contains(**row)).collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
    let unknown: Vec<_> = named.iter().filter(|row| !rows.contains(&row.as_str())).collect();
    assert!(unknown.is_empty(), "docs/attacks.md has no row {unknown:?}");
    Ok(())
}

/// How citations are read.
#[test]
fn citations() {
    let cases: &[(&str, &[u8])] = &[
        ("Invariant 5 from the other side", &[5]),
        ("(invariants 9 and 10)", &[9, 10]),
        ("Invariants 1, 2 and 8: all", &[1, 2, 8]),
        ("Invariants 1 to 4 over sockets", &[1, 2, 3, 4]),
        ("Invariant 6: 7 devices", &[6]),
        ("no invariant at all 3", &[]),
    ];
    for (text, due) in cases {
        assert!(cited(text).iter().eq(due.iter()), "{text}: {:?}", cited(text));
    }
    let cases: &[(&str, &[&str])] = &[
        ("/// Attacks P1 to P3: guesses", &["P1", "P2", "P3"]),
        ("(attack E17)", &["E17"]),
        ("/// Attacks E2, E8 and E11", &["E11", "E2", "E8"]),
        ("    fn a2_a3_replayed_evidence() {", &["A2", "A3"]),
        ("fn p256_keys() {", &[]),
        ("an attack on E5", &[]),
    ];
    for (text, due) in cases {
        assert!(attacks(text).iter().eq(due.iter()), "{text}: {:?}", attacks(text));
    }
}
