//! Tables for people: columns as wide as their widest cell, numbers to the right.

use std::fmt;

/// Between two columns.
const GAP: &str = "  ";

/// A table that shows itself indented by two blanks, without trailing blanks.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings; cells of columns whose heading begins with `<` stand to the left.
    pub(super) fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        Table { rows: vec![headings.into_iter().map(str::to_owned).collect()] }
    }

    /// Adds a row of as many cells as there are headings.
    pub(super) fn row<'a>(&mut self, cells: impl IntoIterator<Item = &'a dyn fmt::Display>) {
        self.rows.push(cells.into_iter().map(ToString::to_string).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(headings) = self.rows.first() else { return Ok(()) };
        let left: Vec<bool> = headings.iter().map(|heading| heading.starts_with('<')).collect();
        let text = |row: usize, column: usize| {
            let cell = self.rows[row].get(column).map_or("", String::as_str);
            if row == 0 { cell.trim_start_matches('<') } else { cell }
        };
        let width = |column| (0..self.rows.len()).map(|row| text(row, column).chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        for row in 0..self.rows.len() {
            let cells = widths.iter().enumerate().map(|(column, &width)| {
                let cell = text(row, column);
                if left[column] { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
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
        let mut table = Table::new(["<name", "count"]);
        table.row([&"a" as &dyn fmt::Display, &12]);
        table.row([&"longer" as &dyn fmt::Display, &123_456]);
        assert_eq!(table.to_string(), "  name     count\n  a           12\n  longer  123456\n");
    }
}
