//! What README and manual show is what the commands print, and the page of codes is what the code says.
#![cfg(feature = "cli")]

use std::{fs, path::Path, process::Command};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every `leasehold` command of a console block, with the output that the block shows after it.
fn shown(text: &str) -> Vec<(Vec<String>, String)> {
    let mut commands: Vec<(Vec<String>, String)> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for line in block.lines() {
            if let Some(command) = line.strip_prefix("$ cargo run -q --features cli -- ") {
                commands.push((command.split(' ').map(String::from).collect(), String::new()));
            } else if let Some((_, output)) = commands.last_mut() {
                output.push_str(line);
                output.push('\n');
            }
        }
    }
    commands
}

#[test]
fn the_readme_shows_what_the_commands_print() {
    let commands = shown(&read("README.md"));
    assert!(commands.len() >= 2, "the README shows {} commands", commands.len());
    for (arguments, output) in commands {
        let run = Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(&arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(run.stdout).unwrap(), output, "{arguments:?}");
    }
}

/// The lines of a block of code that a user writes: neither blank, nor a comment, nor hidden in the rendered page.
fn own_lines(block: &str) -> usize {
    let own =
        |line: &&str| !line.is_empty() && !line.starts_with("//") && *line != "#" && !line.starts_with("# ");
    block.lines().map(str::trim).filter(own).count()
}

/// How short the ways in are: the README says so, and the manual's first service is one program.
#[test]
fn the_ways_in_are_short() {
    let readme = read("README.md");
    let service = read("src/manual/first_service.md");
    let programs = [
        ("a worker, a lease, a crash", readme.split("```rust\n").nth(1), 25),
        ("a URL, a permit", readme.split("```rust\n").nth(2), 20),
        ("a first service", service.split("```\n").find(|block| block.contains("use leasehold")), 60),
    ];
    for (what, program, most) in programs {
        let program = program.unwrap().split("```").next().unwrap();
        let lines = own_lines(program);
        assert!((5..=most).contains(&lines), "{what}: {lines} lines, and {most} are promised");
        assert!(
            program.lines().all(|line| line.chars().count() <= 120),
            "{what}: a line of more than 120 columns"
        );
    }
}

/// Every question of `src/manual/questions.md` names a page and words of it, and the page has those words.
#[test]
fn questions_are_answered_where_the_manual_says() {
    let mut asked = std::collections::BTreeSet::new();
    for line in read("src/manual/questions.md").lines().filter(|line| line.starts_with("| ")).skip(1) {
        let (question, place) = line.trim_matches(['|', ' ']).split_once(" | ").unwrap();
        let (page, words) = place.split_once(": ").unwrap();
        let page = match page.strip_prefix("manual ") {
            Some(page) => format!("src/manual/{}.md", page.trim_matches('`')),
            None => format!("{page}.md"),
        };
        assert!(read(&page).contains(words), "{question} {page} does not say `{words}`");
        assert!(question.ends_with('?') || question.ends_with("now?"), "{question}");
        assert!(asked.insert(question.to_string()), "{question} is asked twice");
    }
    assert!(asked.len() >= 30, "{} questions", asked.len());
}

#[test]
fn the_page_of_codes_is_the_table_in_the_code() {
    assert!(
        read("src/manual/codes.md") == leasehold::code::page(),
        "write it again: cargo run --features cli -- codes --markdown > src/manual/codes.md"
    );
}

/// Every file that README, SECURITY.md, CONTRIBUTING.md and the manual name exists.
#[test]
fn files_that_are_named_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = vec!["README.md".to_string(), "SECURITY.md".into(), "CONTRIBUTING.md".into()];
    for entry in fs::read_dir(root.join("src/manual")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "codes.md" {
            texts.push(format!("src/manual/{name}"));
        }
    }
    // A package holds neither what is a package of its own nor what checks the repository.
    let packed = !root.join("fuzz").exists();
    let mut named = 0;
    for text in texts {
        for word in read(&text).split('`').skip(1).step_by(2) {
            let folder = ["tests/", "src/", "examples/", "benches/", "fuzz/", ".ci/"];
            let is_path = folder.iter().any(|start| word.starts_with(start))
                && !word.contains([' ', '*', '(', '<', ':'])
                && word == word.trim();
            let unpacked = ["fuzz", ".ci", "examples/packages"].iter().any(|start| word.starts_with(start));
            if is_path && !(packed && unpacked) {
                assert!(root.join(word).exists(), "{text} names {word}");
                named += 1;
            }
        }
    }
    assert!(named >= 20, "{named} files are named");
}
