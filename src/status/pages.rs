//! The pages that show the instance, which the HTTP service serves below `/_vault`.

use super::dashboard::{DASHBOARD, DASHBOARD_POLICY};
use super::metrics::metrics;
use super::readiness::readiness;
use super::sample::Sample;
use super::view::Watcher;
use crate::service::status_pages::{StatusPage, StatusPages};
use crate::store::instance::Instance;

const TEXT: &str = "text/plain; charset=utf-8";

struct Pages {
    instance: &'static Instance,
    watcher: Option<Watcher>,
}

/// The pages that show `instance`.
#[must_use]
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
