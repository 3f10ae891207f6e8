//! Tables for people: columns as wide as their widest cell, numbers to the right.

use std::fmt;

/// Between two columns.
const GAP: &str = "  ";

/// A table that shows itself indented by two blanks, without trailing blanks.
pub(super) struct Table {
    /// Of each column, whether its cells stand to the left.
    left: Vec<bool>,
    /// The headings first.
    rows: Vec<Vec<String>>,
}

/// A column: its heading, which begins with `<` where cells stand to the left, and the cell of an item.
pub(super) type Column<T> = (&'static str, fn(&T) -> String);

impl Table {
    /// A table with these headings; cells of columns whose heading begins with `<` stand to the left.
    pub(super) fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        let split = |heading: &'a str| (heading.starts_with('<'), heading.trim_start_matches('<').to_owned());
        let (left, headings) = headings.into_iter().map(split).unzip();
        Table { left, rows: vec![headings] }
    }

    /// A table with a row for each item.
    pub(super) fn of<T>(items: &[T], columns: &[Column<T>]) -> Self {
        let mut table = Table::new(columns.iter().map(|(heading, _)| *heading));
        items.iter().for_each(|item| table.row(columns.iter().map(|(_, cell)| cell(item))));
        table
    }

    /// Adds a row of as many cells as there are headings.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let characters = |column: usize| self.rows.iter().map(move |row| row[column].chars().count());
        let widths: Vec<usize> = (0..self.left.len()).map(|column| characters(column).max().unwrap_or(0)).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&self.left).zip(&widths).map(|((cell, left), &width)| {
                if *left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            let line = cells.collect::<Vec<_>>().join(GAP);
            writeln!(f, "{GAP}{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let items = [("a", 12), ("longer", 123_456)];
        let table = Table::of(&items, &[("<name", |item| item.0.to_owned()), ("count", |item| item.1.to_string())]);
        assert_eq!(table.to_string(), "  name     count\n  a           12\n  longer  123456\n");
    }
}
