//! The pages that show the instance, as the service sees them that serves them. `status` makes them, which stands above all services.

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusPage {
    /// Whether all is well; if not, it is served with status 503.
    pub is_well: bool,
    /// Its media type.
    pub media_type: &'static str,
    /// The Content-Security-Policy that goes with it, if any.
    pub policy: Option<&'static str>,
    /// The page.
    pub text: String,
}

/// What there is to see.
pub trait StatusPages {
    /// The page called `name`, with its leading `/`; `None` where there is none.
    fn page(&self, name: &[u8]) -> Option<StatusPage>;

    /// Whether the page says only whether the server lives and is ready, which is answered also where there is no room for anything else.
    fn is_vital(&self, name: &[u8]) -> bool;

    /// Begins to watch what happens, unless it is watched already.
    fn watch(&mut self);

    /// What has happened since the last call, as JSON. Empty before [`StatusPages::watch`].
    fn events(&mut self) -> String;

    /// Nobody watches any more.
    fn unwatch(&mut self);
}
