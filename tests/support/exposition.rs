//! A strict reader of the text format of Prometheus, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};

/// Label → value, `le` among them.
pub type Labels = BTreeMap<String, String>;

/// A metric and all of its values.
#[derive(Debug, Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What the name is followed by, labels, value.
    pub values: Vec<(String, Labels, f64)>,
}

impl Family {
    /// The sum of all values whose name has no suffix.
    pub fn sum(&self) -> f64 {
        self.values.iter().filter(|(suffix, ..)| suffix.is_empty()).map(|(.., value)| value).sum()
    }
}

/// Reads a text that must be perfect.
///
/// # Errors
/// The first line that is not, and why.
pub fn parse(text: &str) -> Result<BTreeMap<String, Family>, String> {
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let mut families = BTreeMap::<String, Family>::new();
    let mut current: Option<String> = None;
    let mut helped: Option<String> = None;
    for line in text.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, help)) = rest.split_once(' ') else { return wrong("no help") };
            if !is_name(name, true) || families.contains_key(name) || help.trim().is_empty() {
                return wrong("a bad name, a second time, or nothing said");
            }
            (helped, current) = (Some(name.to_owned()), None);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { return wrong("no type") };
            if helped.take().as_deref() != Some(name) || !["counter", "gauge", "histogram"].contains(&kind) {
                return wrong("not the metric that HELP was of, or no such type");
            }
            if (kind == "counter") != name.ends_with("_total") {
                return wrong("counters end in _total, and nothing else does");
            }
            families.insert(name.to_owned(), Family { kind: kind.to_owned(), values: Vec::new() });
            current = Some(name.to_owned());
        } else {
            let Some(name) = &current else { return wrong("a value of no metric") };
            let family = families.get_mut(name).ok_or("unreachable")?;
            let value = value(name, &family.kind, line).map_err(|why| format!("{why}: {line}"))?;
            family.values.push(value);
        }
    }
    families.iter().try_for_each(|(name, family)| check(name, family))?;
    Ok(families)
}

fn is_name(text: &str, colon: bool) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    text.chars().all(good) && text.starts_with(|c: char| !c.is_ascii_digit())
}

fn value(name: &str, kind: &str, line: &str) -> Result<(String, Labels, f64), String> {
    let rest = line.strip_prefix(name).ok_or("a value of another metric")?;
    let end = rest.find(['{', ' ']).ok_or("no value")?;
    let (suffix, mut rest) = rest.split_at(end);
    let may = if kind == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""] };
    if !may.contains(&suffix) {
        return Err(format!("no {kind} has {suffix:?}"));
    }
    let mut labels = Labels::new();
    if let Some(mut inside) = rest.strip_prefix('{') {
        loop {
            let (label, after) = inside.split_once("=\"").ok_or("no label")?;
            let (content, after) = quoted(after)?;
            if !is_name(label, false) || labels.insert(label.to_owned(), content).is_some() {
                return Err(format!("label {label:?}"));
            }
            match after.strip_prefix(',') {
                Some(more) => inside = more,
                None => break rest = after.strip_prefix('}').ok_or("labels do not end")?,
            }
        }
    }
    let number: f64 = rest.strip_prefix(' ').ok_or("no blank")?.parse().map_err(|_| "no number")?;
    if !number.is_finite() || number < 0.0 {
        return Err("nothing here is negative".to_owned());
    }
    Ok((suffix.to_owned(), labels, number))
}

/// What stands before the next quotation mark, without escapes, and what stands behind it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut content = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((content, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => content.push('\n'),
                Some((_, c @ ('\\' | '"'))) => content.push(c),
                other => return Err(format!("escape {other:?}")),
            },
            c => content.push(c),
        }
    }
    Err("a quotation that does not end".to_owned())
}

/// What the values of a metric must be to each other.
fn check(name: &str, family: &Family) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = family.values.iter().find(|(suffix, labels, _)| !seen.insert((suffix, labels))) {
        return Err(format!("{name} has a value twice: {twice:?}"));
    }
    if family.kind != "histogram" {
        return Ok(());
    }
    let of = |suffix: &str, labels: &Labels| {
        let found = family.values.iter().find(|(other, its, _)| other == suffix && its == labels);
        found.map(|(.., value)| *value).ok_or(format!("{name}{suffix} {labels:?} is missing"))
    };
    for (_, labels, count) in family.values.iter().filter(|(suffix, ..)| suffix == "_count") {
        of("_sum", labels)?;
        let mut last = (f64::NEG_INFINITY, 0.0);
        for (_, its, value) in family.values.iter().filter(|(suffix, ..)| suffix == "_bucket") {
            let mut others = its.clone();
            let Some(bound) = others.remove("le") else { return Err(format!("{name}: a bucket without le")) };
            if &others != labels {
                continue;
            }
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().map_err(|_| "le")? };
            if bound <= last.0 || *value < last.1 {
                return Err(format!("{name} {labels:?}: bucket {bound} with {value} after {last:?}"));
            }
            last = (bound, *value);
        }
        if last != (f64::INFINITY, *count) {
            return Err(format!("{name} {labels:?} ends with {last:?} of {count}"));
        }
    }
    let buckets = family.values.iter().filter(|(suffix, ..)| suffix == "_count").count();
    if buckets == 0 { Err(format!("{name} has no count")) } else { Ok(()) }
}
