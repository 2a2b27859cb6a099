use super::*;

/// The faults of a text of which `a` (a whole number) and `[t.NAME]` with `b` are known.
fn faults(text: &str) -> Vec<String> {
    let read = read(text, &Surroundings::of_tests(), |file| {
        let a = file.optional("a").map(|item| item.integer(0..=9));
        file.named("t", |_, table| {
            if let Some(item) = table.required("b", "b = \"…\"") {
                item.text();
            }
        });
        a.unwrap_or(Some(0))
    });
    match read {
        Ok(_) => Vec::new(),
        Err(faults) => faults
            .0
            .iter()
            .map(|fault| format!("{}:{} {}", fault.line, fault.column, fault.place))
            .collect(),
    }
}

#[test]
fn columns_are_counted_in_characters() {
    assert_eq!(
        faults("t.x = { \"äöü\" = 1, b = 2 }"),
        ["1:9 t.x.\"äöü\"", "1:24 t.x.b"]
    );
}

#[test]
fn errors_of_syntax_do_not_hide_each_other_or_what_follows() {
    let text = "a 1\n[t.one]\nb = \"x\nc = 2\n[t.two]\nb = 3\n= 4\n";
    assert_eq!(
        faults(text),
        ["1:3 ", "3:7 ", "4:1 t.one.c", "6:5 t.two.b", "7:1 "]
    );
}

#[test]
fn what_a_broken_header_has_below_it_is_not_laid_to_the_table_before() {
    assert_eq!(
        faults("a = 1\n[t.one\nb = \"x\"\n[t.two]\nb = 5"),
        ["2:7 ", "5:5 t.two.b"]
    );
}

#[test]
fn what_may_stand_on_a_broken_line_is_not_missing() {
    assert_eq!(faults("[t.one]\nb \"x\""), ["2:3 "]);
    assert_eq!(faults("[t.one]\n#b"), ["1:4 t.one.b"]);
}

#[test]
fn a_list_over_lines_is_one_statement() {
    assert_eq!(faults("a = [\n  1\n  2,\n]\nz = 1"), ["3:3 ", "5:1 z"]);
}

#[test]
fn a_table_twice_or_a_key_twice_is_refused() {
    assert_eq!(faults("a = 1\na = 2\nz = 1"), ["2:1 ", "3:1 z"]);
    assert_eq!(faults("[t.x]\nb = 'x'\n[t.x]\nb = 'y'"), ["3:4 "]);
}

#[test]
fn a_value_in_place_of_a_table_is_refused() {
    assert_eq!(faults("t = 5"), ["1:5 t"]);
    assert_eq!(faults("t.x = 5"), ["1:3 t.x"]);
    assert_eq!(faults("[[t]]"), ["1:1 t"]);
}

#[test]
fn a_key_that_may_be_a_secret_is_not_shown() {
    assert_eq!(faults("'u:pw@host' = 1"), ["1:1 \"…\""]);
}

#[test]
fn what_was_never_meant_to_be_toml_is_refused_all_the_same() {
    let text = "no TOML at all\n\n# but this\n\n".repeat(500);
    let found = faults(&text).len();
    assert!((1..=500).contains(&found), "{found}");
}
