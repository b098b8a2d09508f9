//! The arrows between the files of `src/`: none from a room to one above it, and no circles. An
//! arrow is a path in a file's code that leads to what another file defines; a door's `pub use` of
//! its own files is none, unless the door uses it too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Item, UseTree, Visibility};

/// The rooms, each with those whose files it may name.
const ROOMS: [(&str, &[&str]); 6] = [
    ("base", &[]),
    ("config", &["base"]),
    ("balance", &["base"]),
    ("net", &["config", "base"]),
    ("set", &["net", "balance", "config", "base"]),
    ("ffi", &["set", "net", "balance", "config", "base"]),
];

#[test]
fn no_room_names_one_above_it() {
    let house = House::read();
    for (from, to) in house.arrows() {
        let (from_room, to_room) = (room(&from), room(&to));
        let below =
            ROOMS.iter().find(|(name, _)| *name == from_room).map_or(&[][..], |(_, below)| below);
        assert!(
            from_room == to_room || below.contains(&to_room.as_str()),
            "{} names {}, and {from_room} may only name {below:?}",
            from.display(),
            to.display()
        );
    }
}

#[test]
fn no_files_name_each_other() {
    let circles = circles(&House::read().arrows());
    assert!(
        circles.is_empty(),
        "files that name each other, round in a circle:\n{}",
        circles.join("\n")
    );
}

#[test]
fn a_circle_is_found() {
    let arrow = |from: &str, to: &str| (PathBuf::from(from), PathBuf::from(to));
    let arrows = [arrow("a", "b"), arrow("b", "c"), arrow("c", "b"), arrow("a", "c")];
    assert_eq!(circles(&arrows.into()), ["  b -> c\n  c -> b"]);
}

/// A module: a file, or a part of one.
#[derive(Default)]
struct Module {
    file: PathBuf,
    children: BTreeMap<String, Module>,
    /// What its `use` lines bring in, by the name it has here.
    uses: BTreeMap<String, Used>,
    globs: Vec<Vec<String>>,
    /// Paths in its code.
    paths: BTreeSet<Vec<String>>,
    /// Every word of its code but for the `use` lines.
    words: BTreeSet<String>,
}

struct Used {
    path: Vec<String>,
    is_door: bool,
}

struct House {
    top: Module,
}

impl House {
    fn read() -> House {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        House { top: read_file(&top.join("lib.rs"), &top) }
    }

    fn arrows(&self) -> BTreeSet<(PathBuf, PathBuf)> {
        let mut arrows = BTreeSet::new();
        self.collect(&self.top, &mut Vec::new(), &mut arrows);
        assert!(arrows.len() > 100, "the paths of src/ are no longer understood here");
        arrows
    }

    fn collect(
        &self,
        module: &Module,
        at: &mut Vec<String>,
        arrows: &mut BTreeSet<(PathBuf, PathBuf)>,
    ) {
        let used =
            module.uses.iter().filter(|(name, used)| !used.is_door || module.words.contains(*name));
        let paths = used.map(|(_, used)| &used.path).chain(&module.globs).chain(&module.paths);
        for path in paths {
            if let Some(file) = self.file_of(path, at, 0)
                && file != module.file
            {
                arrows.insert((short(&module.file), short(&file)));
            }
        }
        for (name, child) in &module.children {
            at.push(name.clone());
            self.collect(child, at, arrows);
            at.pop();
        }
    }

    /// The file that defines what `path` names, read in the module `at`; `None` if that is another
    /// crate.
    fn file_of(&self, path: &[String], at: &[String], depth: usize) -> Option<PathBuf> {
        assert!(depth < 16, "{path:?} leads nowhere");
        let mut here = at.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => here.clear(),
            "self" => {}
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    here.pop();
                    rest = &rest[1..];
                }
            }
            _ => rest = path,
        }
        if matches!(path[0].as_str(), "crate" | "self") {
            rest = &rest[1..];
        } else if path[0] != "super" && !self.module(&here).children.contains_key(&rest[0]) {
            return None;
        }
        while let Some(name) = rest.first() {
            let module = self.module(&here);
            if module.children.contains_key(name) {
                here.push(name.clone());
                rest = &rest[1..];
            } else if let Some(used) = module.uses.get(name) {
                return self.file_of(&used.path, &here, depth + 1).or(Some(module.file.clone()));
            } else {
                break;
            }
        }
        Some(self.module(&here).file.clone())
    }

    fn module(&self, at: &[String]) -> &Module {
        at.iter().fold(&self.top, |module, name| &module.children[name])
    }
}

/// The module in `file`; the files of its children lie in `folder`.
fn read_file(file: &Path, folder: &Path) -> Module {
    let text =
        std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed =
        syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    read_items(parsed.items, file, folder)
}

fn read_items(items: Vec<Item>, file: &Path, folder: &Path) -> Module {
    let mut module = Module { file: file.to_owned(), ..Module::default() };
    for item in items {
        if is_for_tests(&item) {
            continue;
        }
        match item {
            Item::Mod(child) => {
                let name = child.ident.to_string();
                let inside = folder.join(&name);
                let read = match child.content {
                    Some((_, items)) => read_items(items, file, &inside),
                    None if inside.join("mod.rs").exists() => {
                        read_file(&inside.join("mod.rs"), &inside)
                    }
                    None if inside.with_extension("rs").exists() => {
                        read_file(&inside.with_extension("rs"), &inside)
                    }
                    // By a #[path] that depends on the build: what std's locks are replaced by.
                    None => Module { file: file.to_owned(), ..Module::default() },
                };
                module.children.insert(name, read);
            }
            Item::Use(line) => {
                let is_public = !matches!(line.vis, Visibility::Inherited);
                read_use(&line.tree, &mut Vec::new(), is_public, &mut module);
            }
            other => read_tokens(other.into_token_stream(), &mut module),
        }
    }
    let children: Vec<String> = module.children.keys().cloned().collect();
    for used in module.uses.values_mut() {
        let first = usize::from(used.path[0] == "self");
        used.is_door &= used.path.get(first).is_some_and(|word| children.contains(word));
    }
    module
}

fn is_for_tests(item: &Item) -> bool {
    let attributes = match item {
        Item::Mod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        let text = attribute.to_token_stream().to_string();
        attribute.path().is_ident("cfg")
            && text.split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
    })
}

fn read_use(tree: &UseTree, before: &mut Vec<String>, is_public: bool, module: &mut Module) {
    match tree {
        UseTree::Path(step) => {
            before.push(step.ident.to_string());
            read_use(&step.tree, before, is_public, module);
            before.pop();
        }
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| read_use(tree, before, is_public, module));
        }
        UseTree::Glob(_) => module.globs.push(before.clone()),
        UseTree::Name(name) if name.ident == "self" => {
            let last = before.last().cloned().unwrap_or_default();
            module.uses.insert(last, Used { path: before.clone(), is_door: is_public });
        }
        UseTree::Name(name) => {
            let path = before.iter().cloned().chain([name.ident.to_string()]).collect();
            module.uses.insert(name.ident.to_string(), Used { path, is_door: is_public });
        }
        UseTree::Rename(name) => {
            let path = before.iter().cloned().chain([name.ident.to_string()]).collect();
            module.uses.insert(name.rename.to_string(), Used { path, is_door: is_public });
        }
    }
}

/// Finds `a::b::c` wherever it stands, in macros too.
fn read_tokens(tokens: TokenStream, module: &mut Module) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    let mut end = |path: &mut Vec<String>, colons: &mut usize| {
        if path.len() > 1 {
            module.paths.insert(path.clone());
        }
        path.clear();
        *colons = 0;
    };
    let mut groups = Vec::new();
    let mut words = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(word) => {
                if colons != 2 {
                    end(&mut path, &mut colons);
                }
                words.push(word.to_string());
                path.push(word.to_string());
                colons = 0;
            }
            TokenTree::Punct(point) if point.as_char() == ':' && colons < 2 => colons += 1,
            TokenTree::Group(group) => {
                end(&mut path, &mut colons);
                groups.push(group.stream());
            }
            _ => end(&mut path, &mut colons),
        }
    }
    end(&mut path, &mut colons);
    module.words.extend(words);
    groups.into_iter().for_each(|group| read_tokens(group, module));
}

fn short(file: &Path) -> PathBuf {
    file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(file).to_owned()
}

fn room(file: &Path) -> String {
    file.iter().nth(1).unwrap_or_default().to_string_lossy().into_owned()
}

/// Groups of files each of which leads to all others of its group, told as the arrows among them.
fn circles(arrows: &BTreeSet<(PathBuf, PathBuf)>) -> Vec<String> {
    let mut reach: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (from, _) in arrows {
        let mut found = BTreeSet::new();
        let mut left = vec![from.as_path()];
        while let Some(file) = left.pop() {
            let next = arrows.iter().filter(|(from, _)| from == file).map(|(_, to)| to.as_path());
            left.extend(next.filter(|to| found.insert(*to)));
        }
        reach.insert(from, found);
    }
    let leads = |from: &Path, to: &Path| reach.get(from).is_some_and(|found| found.contains(to));
    let mut told = BTreeSet::new();
    let mut circles = Vec::new();
    for file in reach.keys() {
        if !leads(file, file) || told.contains(file) {
            continue;
        }
        let group: BTreeSet<&Path> = reach
            .keys()
            .copied()
            .filter(|other| leads(file, other) && leads(other, file))
            .collect();
        let inside = arrows
            .iter()
            .filter(|(from, to)| group.contains(from.as_path()) && group.contains(to.as_path()));
        let lines: Vec<String> =
            inside.map(|(from, to)| format!("  {} -> {}", from.display(), to.display())).collect();
        circles.push(lines.join("\n"));
        told.extend(group);
    }
    circles
}
