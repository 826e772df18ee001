//! Text in columns: measuring by what a terminal shows (wide characters take two cells), cutting
//! between grapheme clusters only, padding, and fitting a table into a width. Knows nothing of
//! servers or registries.

use anstyle::Style;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Blanks between two columns.
const GAP: usize = 2;
/// The least that prose gets before a name gives way.
const PROSE: usize = 18;
/// What stands where text was left out; one cell wide.
const ELLIPSIS: &str = "…";

/// One column's head and what may happen to its cells when space is short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) head: &'static str,
    pub(crate) fit: Fit,
}

/// How a column gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Never cut.
    Whole,
    /// Never cut; numbers, to the right.
    Number,
    /// A `namespace/name` that gives way at its beginning, where the prose would otherwise have
    /// less than [`PROSE`] cells.
    Name,
    /// Prose that is cut at its end and takes what is left.
    Prose,
}

/// Lays rows out in `columns` so that lines fit into `width` cells, heads first.
pub(crate) fn render<const N: usize>(
    columns: &[Column; N],
    rows: &[[String; N]],
    width: usize,
    head: Style,
) -> String {
    let widths = fit(columns, rows, width);
    let mut text = String::with_capacity((rows.len() + 1) * (width + 1));
    let heads = columns.map(|column| column.head.to_owned());
    let mut line = String::new();
    push_row(&mut line, columns, &heads, &widths);
    text.extend([
        &head.render().to_string(),
        line.trim_end(),
        &head.render_reset().to_string(),
        "\n",
    ]);
    for row in rows {
        line.clear();
        push_row(&mut line, columns, row, &widths);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The width of each column.
fn fit<const N: usize>(columns: &[Column; N], rows: &[[String; N]], width: usize) -> [usize; N] {
    let mut natural = columns.map(|column| column.head.width());
    for row in rows {
        for (widest, cell) in natural.iter_mut().zip(row) {
            *widest = (*widest).max(cell.width());
        }
    }
    let gaps = GAP * (N.saturating_sub(1));
    let uncut: usize = columns
        .iter()
        .zip(natural)
        .filter(|(column, _)| matches!(column.fit, Fit::Whole | Fit::Number))
        .map(|(_, width)| width)
        .sum();
    let mut left = width.saturating_sub(uncut + gaps);
    let name_share = left.saturating_sub(PROSE).max(left / 2);
    let mut widths = natural;
    for (column, width) in columns.iter().zip(&mut widths) {
        if column.fit == Fit::Name {
            *width = (*width).min(name_share.max(column.head.width()));
            left = left.saturating_sub(*width);
        }
    }
    for (column, width) in columns.iter().zip(&mut widths) {
        if column.fit == Fit::Prose {
            *width = (*width).min(left.max(column.head.width()));
            left = left.saturating_sub(*width);
        }
    }
    widths
}

fn push_row<const N: usize>(
    line: &mut String,
    columns: &[Column; N],
    cells: &[String; N],
    widths: &[usize; N],
) {
    for (index, ((column, cell), &width)) in columns.iter().zip(cells).zip(widths).enumerate() {
        if index > 0 {
            line.extend(std::iter::repeat_n(' ', GAP));
        }
        let cell = match column.fit {
            Fit::Whole | Fit::Number => cell.clone(),
            Fit::Name => cut_name(cell, width),
            Fit::Prose => cut_end(cell, width),
        };
        let blanks = std::iter::repeat_n(' ', width.saturating_sub(cell.width()));
        if column.fit == Fit::Number {
            line.extend(blanks);
            line.push_str(&cell);
        } else {
            line.push_str(&cell);
            line.extend(blanks);
        }
    }
}

/// Text of at most `width` cells: the whole of it, or its beginning and an ellipsis.
pub(crate) fn cut_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = beginning(text, width.saturating_sub(ELLIPSIS.width())).to_owned();
    kept.truncate(kept.trim_end().len());
    if width > 0 {
        kept.push_str(ELLIPSIS);
    }
    kept
}

/// A name of at most `width` cells: the whole of it, or an ellipsis and its end. The end tells
/// servers apart; the beginning is `io.github.` for most of them, and `thv registry info` does
/// without it.
pub(crate) fn cut_name(name: &str, width: usize) -> String {
    if name.width() <= width {
        return name.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    format!(
        "{ELLIPSIS}{}",
        end(name, width.saturating_sub(ELLIPSIS.width()))
    )
}

/// The longest end of whole grapheme clusters within `width` cells.
fn end(text: &str, width: usize) -> &str {
    let mut used = 0;
    let mut begin = text.len();
    for (start, cluster) in text.grapheme_indices(true).rev() {
        used += cluster.width();
        if used > width {
            break;
        }
        begin = start;
    }
    text.get(begin..).unwrap_or_default()
}

/// The longest beginning of whole grapheme clusters within `width` cells.
fn beginning(text: &str, width: usize) -> &str {
    let mut used = 0;
    let mut end = 0;
    for (start, cluster) in text.grapheme_indices(true) {
        used += cluster.width();
        if used > width {
            break;
        }
        end = start + cluster.len();
    }
    text.get(..end).unwrap_or_default()
}

/// Text on one line: runs of blanks become one, and what a terminal would obey is taken out, so
/// that a catalog cannot move the cursor or recolour the screen.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !is_control(*c)));
    }
    line
}

/// Control characters and the marks that turn the writing direction.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Paragraphs of `text` broken into lines of at most `width` cells, each after `indent` blanks.
pub(crate) fn wrap(text: &str, indent: usize, width: usize) -> String {
    let margin = " ".repeat(indent);
    let room = width.saturating_sub(indent).max(20);
    let mut wrapped = String::new();
    for paragraph in text.lines() {
        let mut used = 0;
        for word in one_line(paragraph)
            .split(' ')
            .filter(|word| !word.is_empty())
        {
            let cells = word.width();
            if used == 0 {
                wrapped.push_str(&margin);
            } else if used + 1 + cells > room {
                wrapped.push('\n');
                wrapped.push_str(&margin);
                used = 0;
            } else {
                wrapped.push(' ');
                used += 1;
            }
            wrapped.push_str(word);
            used += cells;
        }
        wrapped.push('\n');
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column {
            head: "NAME",
            fit: Fit::Name,
        },
        Column {
            head: "TYPE",
            fit: Fit::Whole,
        },
        Column {
            head: "DESCRIPTION",
            fit: Fit::Prose,
        },
        Column {
            head: "STARS",
            fit: Fit::Number,
        },
    ];

    fn row(name: &str, kind: &str, description: &str, stars: &str) -> [String; 4] {
        [name, kind, description, stars].map(str::to_owned)
    }

    fn table(rows: &[[String; 4]], width: usize) -> String {
        render(&COLUMNS, rows, width, Style::new())
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_to_the_right() {
        let rows = [
            row("a/b", "container", "Short.", "7"),
            row("a/longer", "npm", "Words.", "12345"),
        ];
        assert_eq!(
            table(&rows, 80),
            "NAME      TYPE       DESCRIPTION  STARS\n\
             a/b       container  Short.           7\n\
             a/longer  npm        Words.       12345\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_asked() {
        let rows = [
            row(
                &format!("{}/{}", "n".repeat(60), "s".repeat(60)),
                "container",
                &"word ".repeat(60),
                "1",
            ),
            row(
                "io.github.example/示例服务器",
                "remote",
                &"服务器 ".repeat(40),
                "99999",
            ),
        ];
        for width in [60, 80, 81, 120, 200] {
            for line in table(&rows, width).lines() {
                assert!(line.width() <= width, "{width}: {} {line}", line.width());
            }
        }
    }

    #[test]
    fn wide_characters_count_two_cells() {
        let rows = [
            row("a/示例", "npm", "x", "1"),
            row("a/abcd", "npm", "x", "1"),
        ];
        let text = table(&rows, 80);
        let offsets: Vec<usize> = text
            .lines()
            .skip(1)
            .map(|line| line.split("npm").next().unwrap_or_default().width())
            .collect();
        assert_eq!(offsets, [8, 8]);
    }

    #[test]
    fn w33_text_is_cut_between_characters() {
        assert_eq!(cut_end("日本語テキスト", 6), "日本…");
        assert_eq!(cut_end("日本語テキスト", 7), "日本語…");
        // A family emoji is one cluster of seven code points; a flag is one of two.
        assert_eq!(cut_end("a👨‍👩‍👧‍👦b👨‍👩‍👧‍👦", 4), "a👨‍👩‍👧‍👦…");
        assert_eq!(cut_end("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}…");
        assert_eq!(cut_end("short", 5), "short");
        assert_eq!(cut_end("ends here", 6), "ends…");
        assert_eq!(cut_end("anything", 0), "");
    }

    #[test]
    fn a_name_gives_way_at_its_beginning() {
        assert_eq!(
            cut_name("io.github.example/server", 24),
            "io.github.example/server"
        );
        assert_eq!(cut_name("io.github.example/server", 15), "…example/server");
        assert_eq!(cut_name("io.github.example/server", 6), "…erver");
        assert_eq!(cut_name("a/日本語", 6), "…本語");
        assert_eq!(cut_name("anything", 0), "");
    }

    #[test]
    fn one_line_drops_what_a_terminal_would_obey() {
        assert_eq!(one_line("a\n  b\t\u{1b}[31mc\u{7}\u{202e}d"), "a b [31mcd");
        assert_eq!(one_line("  "), "");
    }

    #[test]
    fn wrap_keeps_to_the_width_and_the_indent() {
        let text = wrap("one two three four five six seven", 2, 22);
        assert_eq!(text, "  one two three four\n  five six seven\n");
        assert_eq!(wrap("a\n\nb", 0, 80), "a\n\nb\n");
    }
}
