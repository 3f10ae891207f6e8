//! Where `unsafe` stands in a file, also in the tokens of macro calls, and how long its functions are.
//!
//! Include it with `#[path = "support/measure.rs"] mod measure;`, beside `imports`.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::imports::{Source, parse};

/// What is measured in a file, its tests too.
#[derive(Default)]
pub struct Measure {
    /// Where `unsafe` stands.
    pub unsafe_lines: BTreeSet<usize>,
    /// Functions, and how many lines each has.
    pub functions: Vec<(String, usize)>,
}

impl Measure {
    pub fn of(source: &Source) -> Measure {
        let mut measure = Measure::default();
        measure.visit_file(&parse(source));
        measure
    }

    fn note(&mut self, keyword: Option<syn::Token![unsafe]>) {
        self.unsafe_lines.extend(keyword.map(|keyword| keyword.span.start().line));
    }

    fn measure(&mut self, name: &syn::Ident, from: proc_macro2::Span, to: proc_macro2::Span) {
        self.functions.push((name.to_string(), to.end().line - from.start().line + 1));
    }

    fn search(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.search(group.stream()),
                TokenTree::Ident(ident) if ident == "unsafe" => {
                    self.unsafe_lines.insert(ident.span().start().line);
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Measure {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig.ident, item.sig.span(), item.block.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig.ident, item.sig.span(), item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.note(signature.unsafety);
        visit::visit_signature(self, signature);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.note(Some(block.unsafe_token));
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.note(item.unsafety);
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.note(item.unsafety);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.unsafe_lines.insert(item.abi.extern_token.span.start().line);
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.search(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("unsafe") {
            self.unsafe_lines.insert(attribute.span().start().line);
        }
    }
}
