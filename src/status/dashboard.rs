//! The page of the dashboard, and what a browser may do with it.

/// The dashboard: one page that draws what it reads from `/_vault/events`, and needs nothing from elsewhere.
pub const DASHBOARD: &str = include_str!("dashboard.html");

/// The `Content-Security-Policy` of [`DASHBOARD`]: it allows this script and this style by their hashes, the events of the server that
/// sent the page, and nothing else.
pub const DASHBOARD_POLICY: &str = concat!(
    "default-src 'none'; ",
    "script-src 'sha256-ZNSz+F/sXwJPq819ZjAsB/0wzfmhr+0Do4TDmD0MQ58='; ",
    "style-src 'sha256-FjZEeg/u18UldlVitt/TjCIfyaAyMOjE5VO93ggxCD4='; ",
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

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
