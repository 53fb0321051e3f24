//! What PostgreSQL says otherwise than SQLite, in whose way the statements of `sql` are written.

use std::fmt::Write as _;

/// SQLite's words, and PostgreSQL's for the same.
const WORDS: &[(&str, &str)] = &[
    (" CROSS JOIN ", " JOIN "),
    (" AS BLOB)", " AS bytea)"),
    ("x''", "CAST('' AS bytea)"),
    // All that a gateway's role may see of it.
    ("FROM history h WHERE h.num >=", "FROM history_told h WHERE h.num >="),
    ("SELECT value FROM json_each(", "SELECT CAST(json_array_elements_text(CAST("),
];

/// A statement in PostgreSQL's words.
pub(super) fn translated(sql: &str) -> String {
    let mut text = hashed(sql);
    for (theirs, ours) in WORDS {
        text = text.replace(theirs, ours);
    }
    if text.contains("json_array_elements_text(CAST(?") {
        for place in ["?1", "?2", "?3"] {
            text = text.replace(
                &format!("json_array_elements_text(CAST({place})"),
                &format!("json_array_elements_text(CAST({place} AS json)) AS bigint)"),
            );
        }
    }
    if let Some(rest) = text.strip_prefix("INSERT OR REPLACE INTO ") {
        text = replacing(rest);
    }
    quoted(&text)
}

/// `column = ?1 COLLATE …` as it is asked where texts are found by their hash (`schema/v11.sql`), which two of them
/// may share. `NOCASE` folds ASCII alone, and so does `lower` of a text of the collation `C`.
fn hashed(sql: &str) -> String {
    let mut text = sql.to_owned();
    for (collation, (open, close)) in
        [(" COLLATE BINARY", ("", "")), (" COLLATE NOCASE", ("lower(", ")"))]
    {
        while let Some((before, after)) = text.split_once(collation) {
            let mut words = before.rsplitn(4, ' ');
            let (Some(value), Some("="), Some(column)) = (words.next(), words.next(), words.next())
            else {
                break;
            };
            let head = words.next().unwrap_or_default();
            let column = format!("{open}{column}{close}");
            let value = format!("{open}CAST({value} AS text) COLLATE \"C\"{close}");
            text = format!(
                "{head} (hashtextextended({column}, 0) = hashtextextended({value}, 0) \
                 AND {column} = {value}){after}"
            );
        }
    }
    text
}

/// `table (key, column, …) VALUES (…)` as an insertion that takes the place of the row that has the key.
fn replacing(rest: &str) -> String {
    let columns = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let mut columns = columns.map_or("", |(columns, _)| columns).split(',').map(str::trim);
    let key = columns.next().unwrap_or_default();
    let set: Vec<String> = columns.map(|column| format!("{column} = excluded.{column}")).collect();
    format!("INSERT INTO {rest} ON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "))
}

/// Parameters as `$1`, and `user`, which is a function of PostgreSQL's, as the name that it is.
fn quoted(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    // Inside of a text or of a name that is quoted already nothing is another's word.
    let mut within: Option<char> = None;
    let mut word = String::new();
    let put = |out: &mut String, word: &mut String| {
        if word == "user" {
            out.push_str("\"user\"");
        } else {
            out.push_str(word);
        }
        word.clear();
    };
    for c in sql.chars() {
        if within.is_none() && (c.is_ascii_alphanumeric() || c == '_') {
            word.push(c);
            continue;
        }
        put(&mut out, &mut word);
        match c {
            '\'' | '"' if within.is_none_or(|quote| quote == c) => {
                within = if within.is_none() { Some(c) } else { None };
                out.push(c);
            }
            '?' if within.is_none() => out.push('$'),
            // Writing to a string cannot fail.
            c => drop(write!(out, "{c}")),
        }
    }
    put(&mut out, &mut word);
    out
}

#[cfg(test)]
mod tests {
    use super::translated;

    #[test]
    fn a_statement_says_the_same_in_postgresqls_words() {
        for (theirs, ours) in [
            (
                "SELECT user, 'user ?1' FROM user u WHERE u.user = ?1 AND user_id <> ?12",
                "SELECT \"user\", 'user ?1' FROM \"user\" u WHERE u.\"user\" = $1 AND user_id <> $12",
            ),
            (
                "INSERT OR REPLACE INTO t (id, user, b) VALUES (?1, ?2, ?3)",
                "INSERT INTO t (id, \"user\", b) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET \
                 \"user\" = excluded.\"user\", b = excluded.b",
            ),
            (
                "id IN (SELECT value FROM json_each(?2)) ORDER",
                "id IN (SELECT CAST(json_array_elements_text(CAST($2 AS json)) AS bigint)) ORDER",
            ),
            ("\"user\".id = 'it''s user'", "\"user\".id = 'it''s user'"),
            (
                "email <> '' AND m.email = ?3 COLLATE NOCASE AND id < ?1",
                "email <> '' AND (hashtextextended(lower(m.email), 0) = \
                 hashtextextended(lower(CAST($3 AS text) COLLATE \"C\"), 0) \
                 AND lower(m.email) = lower(CAST($3 AS text) COLLATE \"C\")) AND id < $1",
            ),
            (
                "WHERE ext = ?1 COLLATE BINARY",
                "WHERE (hashtextextended(ext, 0) = hashtextextended(CAST($1 AS text) COLLATE \"C\", 0) \
                 AND ext = CAST($1 AS text) COLLATE \"C\")",
            ),
        ] {
            assert_eq!(translated(theirs), ours);
        }
    }
}
