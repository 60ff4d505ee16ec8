use alloc::vec::Vec;

use super::*;

const STATES: [State; 7] = [
    State::Staged,
    State::Primary,
    State::Grace,
    State::Retired,
    State::Disabled,
    State::Compromised,
    State::Destroyed,
];

/// The whole table once more, by letters of the resulting state: `<` back, `=` stays, `-` refused.
const EXPECTED: [(Action, &str); 10] = [
    (Action::Promote, "P=-----"),
    (Action::Replace, "-G-----"),
    (Action::Retire, "--R=---"),
    (Action::Reinstate, "--=G---"),
    (Action::Disable, "D-DD==-"),
    (Action::Compromise, "C-CCC=-"),
    (Action::Enable, "====<--"),
    (Action::Lift, "====<<-"),
    (Action::Destroy, "---XXX="),
    (Action::DestroyWithKey, "XXXXXX="),
];

fn letter(outcome: Outcome) -> char {
    match outcome {
        Outcome::To(State::Staged) => 'S',
        Outcome::To(State::Primary) => 'P',
        Outcome::To(State::Grace) => 'G',
        Outcome::To(State::Retired) => 'R',
        Outcome::To(State::Disabled) => 'D',
        Outcome::To(State::Compromised) => 'C',
        Outcome::To(State::Destroyed) => 'X',
        Outcome::Back => '<',
        Outcome::Stays => '=',
        Outcome::Refused => '-',
    }
}

#[test]
fn every_state_with_every_action_is_as_documented() {
    let actions: Vec<Action> = EXPECTED.iter().map(|(action, _)| *action).collect();
    assert_eq!(actions, Action::ALL);
    for (action, expected) in EXPECTED {
        let row: alloc::string::String = STATES.iter().map(|state| letter(outcome(*state, action))).collect();
        assert_eq!(row, expected, "{action:?}");
    }
}

#[test]
fn the_document_has_the_same_table() {
    let text = include_str!("../../../../../docs/FORMATS.md");
    let words = ["promote", "replace", "retire", "reinstate", "disable", "compromise", "enable", "lift"];
    let words = words.iter().chain(&["destroy", "destroy key"]);
    for (word, (_, row)) in words.zip(EXPECTED) {
        let cells = row.chars().map(|letter| match letter {
            'P' => "primary",
            'G' => "grace",
            'R' => "retired",
            'D' => "disabled",
            'C' => "compromised",
            'X' => "destroyed",
            '<' => "before",
            '=' => "stays",
            _ => "-",
        });
        let line = alloc::format!("| {word} | {} |", cells.collect::<Vec<_>>().join(" | "));
        assert!(text.contains(&line), "{line}");
    }
}

#[test]
fn nothing_leaves_destroyed_and_only_two_actions_touch_a_primary() {
    for action in Action::ALL {
        assert!(matches!(outcome(State::Destroyed, action), Outcome::Stays | Outcome::Refused));
        let moves = matches!(outcome(State::Primary, action), Outcome::To(_) | Outcome::Back);
        assert_eq!(moves, matches!(action, Action::Replace | Action::DestroyWithKey), "{action:?}");
        let makes = STATES.iter().any(|state| outcome(*state, action) == Outcome::To(State::Primary));
        assert_eq!(makes, action == Action::Promote, "{action:?}");
    }
}
