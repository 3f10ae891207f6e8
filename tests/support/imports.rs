//! Which file of a crate uses which, found in the syntax trees: every path in `use`, in expressions, types and attributes, and in the
//! tokens of macro calls, is resolved as the compiler would, to the file in which what it names is defined.
//!
//! Code under `#[cfg(test)]` may know more and is left out. What cannot be seen: names that a macro makes up, and methods, which need no
//! name of their type.
//!
//! Include it with `#[path = "support/imports.rs"] mod imports;`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, Token, UseTree, Visibility};

/// A file: its path from the root of the repository, and what is in it.
pub struct Source {
    pub path: String,
    pub text: String,
}

/// One file uses another, or something of another crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Who.
    pub from: String,
    /// The file in which it is defined that is used; of another crate, its path: `std::fs::File`.
    pub to: String,
    /// Where this is written first.
    pub line: usize,
    /// What is written there.
    pub path: String,
}

/// All edges between files, and from files to other crates, one for each pair.
///
/// A `pub use` of what is defined in a module beneath is no edge: a `mod.rs` that is the façade of its folder does not depend on it, and
/// whoever comes through the façade uses the file behind it. A `mod.rs` that defines or does something itself is a file like others.
///
/// # Panics
/// A file cannot be parsed, or a module has no file.
pub fn edges(sources: &[Source]) -> Vec<Edge> {
    let mut tree = Tree::default();
    let files: Vec<_> = sources.iter().map(parse).collect();
    let by_path = sources.iter().map(|source| source.path.as_str()).zip(&files).collect();
    // The library first: it is what programs call `bank_vault`.
    let (libraries, others): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.path == "src/lib.rs");
    for source in libraries.into_iter().chain(others.into_iter().filter(|source| source.path.starts_with("bin/"))) {
        tree.add(&by_path, None, &source.path, folder_of(&source.path), &by_path[source.path.as_str()].items);
    }
    tree.edges()
}

/// The syntax tree of a file.
///
/// # Panics
/// It cannot be parsed.
pub fn parse(source: &Source) -> syn::File {
    syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path))
}

fn folder_of(path: &str) -> String {
    path.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned())
}

/// Whether a part of the program is there only in tests.
pub fn is_for_tests(attributes: &[Attribute]) -> bool {
    fn wants_test(meta: &Meta) -> bool {
        let parts = |list: &syn::MetaList| list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => {
                parts(list).is_ok_and(|parts| parts.iter().any(wants_test))
            }
            Meta::List(list) if list.path.is_ident("any") => {
                parts(list).is_ok_and(|parts| parts.iter().all(wants_test))
            }
            _ => false,
        }
    }
    let is_cfg = |attribute: &&Attribute| attribute.path().is_ident("cfg");
    attributes.iter().filter(is_cfg).any(|cfg| cfg.parse_args::<Meta>().is_ok_and(|meta| wants_test(&meta)))
}

/// The attributes of what may stand in a module.
pub fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// What a name in a module stands for.
#[derive(Clone, Debug)]
enum Named {
    Module(usize),
    Defined,
    Imported(Vec<String>),
}

/// What a path leads to.
enum Target {
    Module(usize),
    /// Something defined in this module.
    Within(usize),
    Elsewhere(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Path,
    Use,
    Again,
}

struct Reference {
    module: usize,
    path: Vec<String>,
    line: usize,
    how: How,
    glob: bool,
}

struct Module {
    parent: Option<usize>,
    root: usize,
    file: String,
    names: HashMap<String, Vec<Named>>,
    globs: Vec<Vec<String>>,
}

/// The modules of a crate and of the programs that use it.
#[derive(Default)]
struct Tree {
    modules: Vec<Module>,
    references: Vec<Reference>,
}

impl Tree {
    /// Adds a module, and those beneath it. `folder` is where the files of the latter are.
    fn add(
        &mut self,
        files: &HashMap<&str, &syn::File>,
        parent: Option<usize>,
        file: &str,
        folder: String,
        items: &[Item],
    ) -> usize {
        let id = self.modules.len();
        let root = parent.map_or(id, |parent| self.modules[parent].root);
        self.modules.push(Module { parent, root, file: file.to_owned(), names: HashMap::new(), globs: Vec::new() });
        for item in items.iter().filter(|item| !is_for_tests(attributes_of(item))) {
            match item {
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let child = if let Some((_, items)) = &module.content {
                        self.add(files, Some(id), file, format!("{folder}/{name}"), items)
                    } else {
                        let (file, folder) = find(files, &folder, &name, &module.attrs);
                        self.add(files, Some(id), &file, folder, &files[file.as_str()].items)
                    };
                    self.name(id, name, Named::Module(child));
                }
                Item::Macro(item) => {
                    if let Some(name) = &item.ident {
                        let exported = item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
                        self.name(id, name.to_string(), Named::Defined);
                        if exported && root != id {
                            let path = self.path_of(id).into_iter().chain([name.to_string()]).collect();
                            self.name(root, name.to_string(), Named::Imported(path));
                        }
                    }
                }
                item => {
                    if let Some(name) = defined(item) {
                        self.name(id, name, Named::Defined);
                    }
                }
            }
        }
        let mut finder = Finder { tree: self, module: id };
        items.iter().filter(|item| !matches!(item, Item::Mod(_))).for_each(|item| finder.visit_item(item));
        id
    }

    fn name(&mut self, module: usize, name: String, named: Named) {
        self.modules[module].names.entry(name).or_default().push(named);
    }

    /// A module's path from its root, beginning with `crate`.
    fn path_of(&self, module: usize) -> Vec<String> {
        let Some(parent) = self.modules[module].parent else { return vec!["crate".to_owned()] };
        let is_it = |named: &Named| matches!(named, Named::Module(child) if *child == module);
        let name = self.modules[parent].names.iter().find(|(_, named)| named.iter().any(is_it));
        // While it is being added, its parent does not have its name yet: macros are exported by files, whose names say it.
        let name = name.map_or_else(|| stem(&self.modules[module].file), |(name, _)| name.clone());
        let mut path = self.path_of(parent);
        path.push(name);
        path
    }

    fn resolve(&self, module: usize, path: &[String], depth: u32) -> Target {
        let elsewhere = || Target::Elsewhere(path.join("::"));
        if depth == 0 {
            return elsewhere();
        }
        let (mut at, mut rest) = (module, path);
        let mut begun = false;
        while let Some((first, others)) = rest.split_first() {
            at = match first.as_str() {
                "crate" => self.modules[at].root,
                "self" => at,
                "super" => self.modules[at].parent.unwrap_or(at),
                "bank_vault" if !begun => 0,
                _ => break,
            };
            (begun, rest) = (true, others);
        }
        while let Some((first, others)) = rest.split_first() {
            match self.look_up(at, first, others.is_empty(), depth) {
                Some(Target::Module(module)) => (at, rest, begun) = (module, others, true),
                Some(Target::Elsewhere(outside)) => {
                    return Target::Elsewhere([&[outside][..], others].concat().join("::"));
                }
                Some(within) => return within,
                // Something that a macro has defined.
                None if begun => return Target::Within(at),
                None => return elsewhere(),
            }
        }
        Target::Module(at)
    }

    fn look_up(&self, module: usize, name: &str, is_last: bool, depth: u32) -> Option<Target> {
        let module_of = |named: &Named| if let Named::Module(module) = named { Some(*module) } else { None };
        let here = &self.modules[module];
        if let Some(all) = here.names.get(name) {
            // One name may be a module and something else at once.
            let child = all.iter().find_map(module_of);
            if let Some(child) = child.filter(|_| !is_last || all.len() == 1) {
                return Some(Target::Module(child));
            }
            return all.iter().find_map(|named| match named {
                Named::Defined => Some(Target::Within(module)),
                Named::Imported(path) => Some(self.resolve(module, path, depth - 1)),
                Named::Module(_) => None,
            });
        }
        here.globs.iter().find_map(|glob| match self.resolve(module, glob, depth - 1) {
            Target::Module(from) if from != module => {
                self.modules[from].names.contains_key(name).then(|| self.look_up(from, name, is_last, depth - 1))?
            }
            _ => None,
        })
    }

    fn is_beneath(&self, mut module: usize, above: usize) -> bool {
        while let Some(parent) = self.modules[module].parent {
            if parent == above {
                return true;
            }
            module = parent;
        }
        false
    }

    fn edges(&self) -> Vec<Edge> {
        let mut seen = BTreeSet::new();
        let mut found: BTreeMap<_, Edge> = BTreeMap::new();
        for reference in &self.references {
            let Reference { module, path, line, how, glob } = reference;
            let from = &self.modules[*module].file;
            let to = match self.resolve(*module, path, 32) {
                // What is done with a module is seen where something of it is named.
                Target::Module(target) if *glob => Ok(target),
                Target::Module(_) => continue,
                Target::Within(target) => Ok(target),
                Target::Elsewhere(outside) => Err(outside),
            };
            let to = match to {
                Ok(target) if *how == How::Again && self.is_beneath(target, *module) => continue,
                Ok(target) => self.modules[target].file.clone(),
                // A variable, or what every program has without asking.
                Err(outside) if !outside.contains("::") || outside.starts_with(char::is_uppercase) => continue,
                Err(outside) => outside,
            };
            if to != *from && seen.insert((from, to.clone(), *line)) {
                let edge = Edge { from: from.clone(), to: to.clone(), line: *line, path: path.join("::") };
                let first = found.entry((from, to)).or_insert_with(|| edge.clone());
                if edge.line < first.line {
                    *first = edge;
                }
            }
        }
        found.into_values().collect()
    }
}

fn stem(file: &str) -> String {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

/// The file of `mod name;`, and the folder of the modules beneath it.
fn find(files: &HashMap<&str, &syn::File>, folder: &str, name: &str, attributes: &[Attribute]) -> (String, String) {
    let told = attributes.iter().find(|attribute| attribute.path().is_ident("path")).map(|attribute| {
        let value = &attribute.meta.require_name_value().unwrap().value;
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = value else { panic!("#[path] of {name}") };
        let parent = text.value().starts_with("../");
        let folder = if parent { folder_of(folder) } else { folder.to_owned() };
        let path = format!("{folder}/{}", text.value().trim_start_matches("../"));
        path.trim_start_matches('/').to_owned()
    });
    let candidates = [told, Some(format!("{folder}/{name}.rs")), Some(format!("{folder}/{name}/mod.rs"))];
    let file = candidates.into_iter().flatten().find(|path| files.contains_key(path.as_str()));
    let file = file.unwrap_or_else(|| panic!("module {name} in {folder} has no file"));
    let beneath = if file.ends_with("/mod.rs") { folder_of(&file) } else { file.trim_end_matches(".rs").to_owned() };
    (file, beneath)
}

fn defined(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// Finds the references in one module.
struct Finder<'a> {
    tree: &'a mut Tree,
    module: usize,
}

impl Finder<'_> {
    fn refer(&mut self, path: Vec<String>, line: usize, how: How, glob: bool) {
        self.tree.references.push(Reference { module: self.module, path, line, how, glob });
    }

    fn take_use(&mut self, before: &[String], tree: &UseTree, how: How) {
        let with = |name: &syn::Ident| {
            let name = name.to_string();
            let is_self = name == "self" && !before.is_empty();
            before.iter().cloned().chain((!is_self).then_some(name)).collect::<Vec<_>>()
        };
        match tree {
            UseTree::Path(path) => self.take_use(&with(&path.ident), &path.tree, how),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.take_use(before, tree, how)),
            UseTree::Glob(glob) => {
                self.refer(before.to_vec(), glob.star_token.spans[0].start().line, how, true);
                self.tree.modules[self.module].globs.push(before.to_vec());
            }
            UseTree::Name(name) => self.take_name(with(&name.ident), None, name.ident.span().start().line, how),
            UseTree::Rename(name) => {
                self.take_name(with(&name.ident), Some(name.rename.to_string()), name.ident.span().start().line, how);
            }
        }
    }

    fn take_name(&mut self, path: Vec<String>, rename: Option<String>, line: usize, how: How) {
        let name = rename.unwrap_or_else(|| path.last().unwrap().clone());
        self.tree.name(self.module, name, Named::Imported(path.clone()));
        self.refer(path, line, how, false);
    }

    /// Takes what looks like a path in tokens that no parser has read.
    fn take_tokens(&mut self, tokens: &TokenStream) {
        let tokens: Vec<_> = tokens.clone().into_iter().collect();
        let punct =
            |at: usize, which: char| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == which);
        let colons = |at: usize| {
            matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':' && p.spacing() == Spacing::Joint)
                && punct(at + 1, ':')
        };
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => self.take_tokens(&group.stream()),
                TokenTree::Literal(literal) => self.take_text(&literal.to_string(), literal.span().start().line),
                TokenTree::Ident(ident) => {
                    let begin = at;
                    let after = |which| begin >= 2 && punct(begin - 2, which);
                    let is_field = after('.') && !(begin >= 3 && punct(begin - 3, '.'));
                    let line = ident.span().start().line;
                    let mut path = vec![ident.to_string()];
                    while let (true, Some(TokenTree::Ident(next))) = (colons(at), tokens.get(at + 2)) {
                        path.push(next.to_string());
                        at += 3;
                    }
                    match tokens.get(at + 2) {
                        Some(TokenTree::Group(group)) if colons(at) && group.delimiter() == Delimiter::Brace => {
                            at += 3;
                            if let Ok(tree) = syn::parse2(TokenStream::from(TokenTree::from(group.clone()))) {
                                self.take_use(&path, &tree, How::Use);
                            }
                        }
                        _ if !is_field && !after('\'') => self.refer(path, line, How::Path, false),
                        _ => {}
                    }
                }
                TokenTree::Punct(_) => {}
            }
        }
    }

    /// A path in a string, as `serde` wants it.
    fn take_text(&mut self, literal: &str, line: usize) {
        let Ok(syn::Lit::Str(text)) = syn::parse_str(literal) else { return };
        let Ok(path) = text.parse_with(syn::Path::parse_mod_style) else { return };
        if path.segments.len() > 1 {
            self.refer(path.segments.iter().map(|segment| segment.ident.to_string()).collect(), line, How::Path, false);
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes_of(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            let how = if matches!(item.vis, Visibility::Inherited) { How::Use } else { How::Again };
            self.take_use(&[], &item.tree, how);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let line = path.segments.first().map_or(0, |first| first.ident.span().start().line);
            self.refer(segments, line, How::Path, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.take_tokens(&call.tokens);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::List(list) => self.take_tokens(&list.tokens),
            // `doc` too, whose links are no imports.
            Meta::Path(_) | Meta::NameValue(_) => {}
        }
    }
}
