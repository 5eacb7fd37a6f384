//! Imports go down only: no file of the library imports another in a circle, and each folder imports what the table of
//! ARCHITECTURE.md, "Where things are", says that it knows.
//!
//! A re-export is no import of the file that has it: it is followed to where the name is defined.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::Path,
};

use syn::{
    Attribute, Item, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// A path of names from the root of the crate.
type Name = Vec<String>;

/// One file: what it defines, what its `use` items name, and which paths its code has.
#[derive(Default)]
struct File {
    defines: BTreeSet<String>,
    /// Each name that a `use` brings in, with where it comes from as it is written.
    named: BTreeMap<String, Name>,
    /// Where each `use` with a `*` points to.
    globs: Vec<Name>,
    /// What is imported for use here.
    imports: Vec<Name>,
    /// What is imported to be passed on.
    passes_on: Vec<Name>,
}

#[derive(Default)]
struct Crate {
    files: BTreeMap<Name, File>,
}

fn has_cfg_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

fn flatten(tree: &UseTree, mut before: Name, all: &mut Vec<(Name, String)>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, all);
        }
        UseTree::Name(name) if name.ident == "self" => {
            let own = before.last().cloned().unwrap_or_default();
            all.push((before, own));
        }
        UseTree::Name(name) => {
            before.push(name.ident.to_string());
            all.push((before, name.ident.to_string()));
        }
        UseTree::Rename(rename) => {
            before.push(rename.ident.to_string());
            all.push((before, rename.rename.to_string()));
        }
        UseTree::Glob(_) => all.push((before, "*".into())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before.clone(), all)),
    }
}

impl<'ast> Visit<'ast> for File {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, defined) = match item {
            Item::Mod(item) => (&item.attrs, None),
            Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            Item::Type(item) => (&item.attrs, Some(&item.ident)),
            Item::Const(item) => (&item.attrs, Some(&item.ident)),
            Item::Static(item) => (&item.attrs, Some(&item.ident)),
            Item::Impl(item) => (&item.attrs, None),
            Item::Use(item) => (&item.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if has_cfg_test(attributes) {
            return;
        }
        self.defines.extend(defined.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut all = Vec::new();
        flatten(&item.tree, Vec::new(), &mut all);
        for (path, name) in all {
            if name == "*" {
                self.globs.push(path.clone());
            } else {
                self.named.insert(name, path.clone());
            }
            if matches!(item.vis, Visibility::Inherited) {
                self.imports.push(path);
            } else {
                self.passes_on.push(path);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.imports.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        // Arguments of macros are tokens, in which names are joined by `::`. What stands between quotes is no name.
        let text = called.tokens.to_string().replace("\\\"", "");
        let text: String = text.split('"').step_by(2).collect::<Vec<_>>().join(" ");
        for word in text.replace(" :: ", "::").split(|c: char| !c.is_alphanumeric() && !"_:".contains(c)) {
            if word.contains("::") {
                self.imports.push(word.split("::").filter(|part| !part.is_empty()).map(Into::into).collect());
            }
        }
    }
}

impl Crate {
    fn read(&mut self, folder: &Path, module: &Name) -> Result<(), Box<dyn Error>> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).ok_or("a name in UTF-8")?.to_string();
            let mut own = module.clone();
            if !["lib", "mod"].contains(&stem.as_str()) {
                own.push(stem);
            }
            if path.is_dir() {
                // The command line is a crate of its own.
                if own != ["bin"] {
                    self.read(&path, &own)?;
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)?;
                let mut file = File::default();
                file.visit_file(&syn::parse_file(&text)?);
                self.files.insert(own, file);
            }
        }
        Ok(())
    }

    /// The path from the root of what `module` writes as `path`; nothing for what another crate or the file itself has.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Name> {
        let (first, rest) = path.split_first()?;
        let child = [module, std::slice::from_ref(first)].concat();
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let (_, parent) = module.split_last()?;
                if rest.first().is_some_and(|next| next == "super") {
                    self.absolute(parent, rest)
                } else {
                    Some([parent, rest].concat())
                }
            }
            _ if self.files.contains_key(&child) => Some([module, path].concat()),
            _ => None,
        }
    }

    /// The file in which the thing with this path is defined, behind every re-export.
    fn home(&self, path: &[String], depth: usize) -> Option<Name> {
        let ends = (0..=path.len()).rev().map(|end| path.split_at(end));
        let (module, rest) = ends.into_iter().find(|(module, _)| self.files.contains_key(*module))?;
        let file = self.files.get(module)?;
        let Some((name, after)) = rest.split_first() else { return Some(module.to_vec()) };
        if depth == 0 || file.defines.contains(name) {
            return Some(module.to_vec());
        }
        let onward = file.named.get(name).and_then(|path| self.absolute(module, path));
        if let Some(onward) = onward {
            return self.home(&[onward.as_slice(), after].concat(), depth - 1);
        }
        let mut globs = file.globs.iter().filter_map(|glob| self.absolute(module, glob));
        let found = globs.find_map(|glob| {
            let onward = self.home(&[glob.as_slice(), rest].concat(), depth - 1)?;
            self.files.get(&onward)?.defines.contains(name).then_some(onward)
        });
        Some(found.unwrap_or_else(|| module.to_vec()))
    }

    /// The files in which `paths`, as `module` writes them, are defined.
    fn targets(&self, module: &Name, paths: &[Name]) -> BTreeSet<Name> {
        let homes = paths.iter().filter_map(|path| self.home(&self.absolute(module, path)?, 8));
        homes.filter(|home| home != module).collect()
    }

    /// Which file imports which.
    fn arrows(&self) -> BTreeMap<&Name, BTreeSet<Name>> {
        let files = self.files.iter();
        files.map(|(module, file)| (module, self.targets(module, &file.imports))).collect()
    }
}

fn library() -> Result<Crate, Box<dyn Error>> {
    let mut library = Crate::default();
    library.read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Vec::new())?;
    // Files of tests alone: the whole file stands behind `#[cfg(test)]` of its parent.
    library.files.retain(|module, _| module.last().is_none_or(|name| name != "tests"));
    assert!(library.files.len() > 200, "the source is there");
    Ok(library)
}

fn circle<'a>(
    at: &'a Name,
    arrows: &'a BTreeMap<&Name, BTreeSet<Name>>,
    way: &mut Vec<&'a Name>,
    done: &mut BTreeSet<&'a Name>,
) -> Option<String> {
    if let Some(from) = way.iter().position(|seen| *seen == at) {
        let names = way.iter().skip(from).map(|module| module.join("::"));
        return Some(names.collect::<Vec<_>>().join(" -> "));
    }
    if !done.insert(at) {
        return None;
    }
    way.push(at);
    let found = arrows.get(at).into_iter().flatten().find_map(|next| circle(next, arrows, way, done));
    way.pop();
    found
}

#[test]
fn no_file_imports_in_a_circle() -> Result<(), Box<dyn Error>> {
    let library = library()?;
    let arrows = library.arrows();
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    let found = arrows.keys().filter_map(|module| circle(module, &arrows, &mut way, &mut done));
    let found: Vec<_> = found.collect();
    assert!(found.is_empty(), "move what both need into a file that both import: {found:#?}");
    Ok(())
}

/// The rows of the table: names of folders and what they know.
fn table() -> Result<Vec<(Vec<String>, Vec<String>)>, Box<dyn Error>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md"))?;
    let section = text.split("\n## Where things are").nth(1).ok_or("the section")?;
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(Into::into).collect::<Vec<String>>();
    let mut rows: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for line in section.lines().skip_while(|line| !line.starts_with("|---")).skip(1) {
        let cells: Vec<&str> = line.split('|').collect();
        let [_, folders, _, knows, _] = cells.as_slice() else { break };
        let words = if knows.contains("the words") {
            rows.first().map(|(words, _)| words.clone()).unwrap_or_default()
        } else {
            Vec::new()
        };
        rows.push((names(folders), [words, names(knows)].concat()));
    }
    Ok(rows)
}

#[test]
fn each_folder_imports_what_the_table_says() -> Result<(), Box<dyn Error>> {
    let library = library()?;
    let rows = table()?;
    let words: BTreeSet<&String> = rows.first().into_iter().flat_map(|(words, _)| words).collect();
    let mut imported: BTreeMap<&String, BTreeSet<String>> = BTreeMap::new();
    for (module, file) in &library.files {
        let Some(folder) = module.first() else { continue };
        let own = imported.entry(folder).or_default();
        let paths = [file.imports.as_slice(), &file.passes_on].concat();
        let homes = library.targets(module, &paths);
        own.extend(
            homes.into_iter().filter_map(|home| home.into_iter().next()).filter(|other| other != folder),
        );
    }
    let mut above: BTreeSet<&String> = BTreeSet::new();
    for (folders, knows) in &rows {
        for other in knows {
            let beside = words.contains(other) && folders.contains(other);
            assert!(
                above.contains(other) || beside,
                "{folders:?} knows {other}, which is not in a row above"
            );
        }
        let mut used: BTreeSet<&String> = BTreeSet::new();
        for folder in folders {
            let imports = imported.remove(folder).ok_or_else(|| format!("{folder} is no folder of src"))?;
            for other in imports {
                let known = knows.iter().find(|known| **known == other);
                let beside = folders.contains(&other);
                assert!(known.is_some() || beside, "{folder} imports {other}; the table does not say so");
                used.extend(known);
            }
        }
        for other in knows.iter().filter(|other| !words.contains(*other)) {
            assert!(
                used.contains(other),
                "{folders:?} does not import {other}, and the table says that it does"
            );
        }
        above.extend(folders);
    }
    let left: Vec<_> = imported.keys().collect();
    assert!(left.is_empty(), "the table has no row for {left:?}");
    Ok(())
}
