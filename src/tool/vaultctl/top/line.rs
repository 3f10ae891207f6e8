//! A line of names and values, and the styles of what is shown.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

pub(super) const SOFT: Style = Style::new().fg(Color::DarkGray);
pub(super) const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const TITLE: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
pub(super) const ALERT: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// A line of names and values: names soft, values strong.
pub(super) fn pairs<'a>(title: &'a str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> Line<'a> {
    let mut spans = vec![Span::styled(format!("{title:<9}"), TITLE)];
    for (name, value) in pairs {
        if !name.is_empty() {
            spans.push(Span::styled(format!("{name} "), SOFT));
        }
        spans.push(Span::styled(format!("{value}  "), STRONG));
    }
    Line::from(spans)
}
