//! The pages that show the instance, which the HTTP service serves below `/_vault`.

use super::metrics::metrics;
use super::readiness::readiness;
use super::sample::Sample;
use super::view::Watcher;
use crate::service::status_pages::{StatusPage, StatusPages};
use crate::store::instance::Instance;

/// The dashboard: one page that draws what it reads from `/_vault/events`, and needs nothing from elsewhere.
const DASHBOARD: &str = include_str!("dashboard.html");

/// The `Content-Security-Policy` of [`DASHBOARD`]: it allows this script and this style by their hashes, the events of the server that
/// sent the page, and nothing else.
const DASHBOARD_POLICY: &str = concat!(
    "default-src 'none'; ",
    "script-src 'sha256-9Gzhs6/OTwCxgOu58rbBXvW+m+vJ7ARGkjS6z0MCpRY='; ",
    "style-src 'sha256-06CyHU3PbMFUNgUMt7QkmrNVu1mpM6yszPUkgjSYtys='; ",
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const TEXT: &str = "text/plain; charset=utf-8";

struct Pages {
    instance: &'static Instance,
    watcher: Option<Watcher>,
}

/// The pages that show `instance`.
pub fn pages(instance: &'static Instance) -> Box<dyn StatusPages> {
    Box::new(Pages { instance, watcher: None })
}

impl StatusPages for Pages {
    fn page(&self, name: &[u8]) -> Option<StatusPage> {
        let page = |media_type, text| StatusPage { is_well: true, media_type, policy: None, text };
        let sample = || Sample::take(self.instance);
        Some(match name {
            b"/" => {
                StatusPage { policy: Some(DASHBOARD_POLICY), ..page("text/html; charset=utf-8", DASHBOARD.to_owned()) }
            }
            b"/stats.json" => page("application/json", sample().json()),
            b"/metrics" => page("text/plain; version=0.0.4; charset=utf-8", metrics(&sample())),
            b"/health" => page(TEXT, "alive\n".to_owned()),
            b"/ready" => match readiness(self.instance) {
                Ok(()) => page(TEXT, "ready\n".to_owned()),
                Err(reasons) => {
                    let reasons = reasons.iter().map(|reason| format!("not ready: {reason}\n")).collect();
                    StatusPage { is_well: false, ..page(TEXT, reasons) }
                }
            },
            _ => return None,
        })
    }

    fn is_vital(&self, name: &[u8]) -> bool {
        matches!(name, b"/health" | b"/ready")
    }

    fn watch(&mut self) {
        self.watcher.get_or_insert_with(|| Watcher::new(self.instance));
    }

    fn events(&mut self) -> String {
        self.watcher.as_mut().map_or_else(String::new, |watcher| watcher.look(self.instance).json())
    }

    fn unwatch(&mut self) {
        self.watcher = None;
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use sha2::{Digest, Sha256};

    use super::*;

    /// The text between the only opening and the only closing tag.
    fn inside(tag: &str) -> &'static str {
        let (_, rest) = DASHBOARD.split_once(&format!("<{tag}>")).unwrap();
        let (inside, rest) = rest.split_once(&format!("</{tag}>")).unwrap();
        assert!(!rest.contains(&format!("<{tag}")), "there is another {tag}");
        inside
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_that_are_in_the_page() {
        for tag in ["script", "style"] {
            let hash = Base64::encode_string(&Sha256::digest(inside(tag)));
            assert!(DASHBOARD_POLICY.contains(&format!("{tag}-src 'sha256-{hash}'")), "the {tag}'s is {hash}");
        }
        assert!(!DASHBOARD.contains(" style=") && !DASHBOARD.contains(" onclick="), "an attribute has no hash");
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_is_small() {
        assert!(DASHBOARD.len() < 40 * 1024, "{} bytes", DASHBOARD.len());
        let elsewhere = ["src=\"", "url(", "@import", "https://", "innerHTML", "eval("];
        for what in elsewhere {
            assert!(!DASHBOARD.contains(what), "{what}");
        }
        assert_eq!(DASHBOARD.matches("http://").count(), 1, "the name space of the icon, which nobody fetches");
    }
}
