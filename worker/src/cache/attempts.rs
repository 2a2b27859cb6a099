//! The commands of one call, from attempt to attempt, until each has its outcome: what to send where next, and after
//! what wait. No I/O and no clock: [`super::router`] drives it.

use std::time::Duration;

use redis::Value;

use super::addr::NodeAddr;
use super::answer::Answer;
use super::error::{CommandError, FailureKind};

/// How often one command is sent at most in one call, redirections included.
pub(crate) const ATTEMPTS_MAX: u32 = 10;

/// How many redirections in a row are followed at once. More of them mean that the nodes do not agree yet.
const REDIRECTIONS_AT_ONCE: u32 = 4;

/// The wait before the second attempt; it doubles from attempt to attempt, up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Where a command goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// To the node that owns its slot, as the slot map has it.
    Owner,
    /// To this node, which was said to own the slot.
    Node(NodeAddr),
    /// To this node, behind `ASKING`.
    Ask(NodeAddr),
}

/// One command that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Which of the call's commands.
    pub(crate) index: usize,
    pub(crate) target: Target,
    /// How many attempts were made before.
    made: u32,
    /// How many redirections in a row led here.
    redirections: u32,
}

/// What to do between two rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Between {
    /// Who owns what should be asked anew.
    pub(crate) refresh: bool,
    /// How long to wait, before jitter.
    pub(crate) wait: Option<Duration>,
}

/// The outcome of each command, as far as it has one, and the attempts that are due.
#[derive(Debug)]
pub(crate) struct Attempts {
    outcomes: Vec<Option<Result<Value, CommandError>>>,
    due: Vec<Attempt>,
    between: Between,
}

impl Attempts {
    /// For `count` commands, each of them due, except where `refusal` has an error for its index.
    pub(crate) fn new(count: usize, refusal: impl Fn(usize) -> Option<CommandError>) -> Self {
        let outcomes: Vec<_> = (0..count).map(|index| refusal(index).map(Err)).collect();
        let fresh = |index| Attempt {
            index,
            target: Target::Owner,
            made: 0,
            redirections: 0,
        };
        let due = (0..count)
            .filter(|&index| outcomes[index].is_none())
            .map(fresh)
            .collect();
        Self {
            outcomes,
            due,
            between: Between::default(),
        }
    }

    /// Takes the attempts that are due: the next round. None: all is done.
    pub(crate) fn next_round(&mut self) -> Vec<Attempt> {
        self.between = Between::default();
        std::mem::take(&mut self.due)
    }

    /// Takes note of the answer to an attempt of this round.
    pub(crate) fn record(&mut self, attempt: Attempt, answer: Answer) {
        match answer {
            Answer::Reply(value) => self.outcomes[attempt.index] = Some(Ok(value)),
            Answer::Failed(error) => self.outcomes[attempt.index] = Some(Err(error)),
            Answer::Moved(node) => {
                self.between.refresh = true;
                self.redirect(attempt, Target::Node(node));
            }
            Answer::Ask(node) => self.redirect(attempt, Target::Ask(node)),
            // Whoever cannot be reached, or does not serve, may have been replaced.
            Answer::Later(error) | Answer::Demoted(error) => {
                self.between.refresh = true;
                self.again_later(attempt, error);
            }
        }
    }

    /// What to do before the next round.
    pub(crate) const fn between(&self) -> Between {
        self.between
    }

    /// Whether the next round would be none.
    pub(crate) fn is_done(&self) -> bool {
        self.due.is_empty()
    }

    /// The outcomes, in the commands' order; those that have none fail with `why`.
    pub(crate) fn finish(self, why: impl Fn() -> CommandError) -> Vec<Result<Value, CommandError>> {
        let or_why = |outcome: Option<_>| outcome.unwrap_or_else(|| Err(why()));
        self.outcomes.into_iter().map(or_why).collect()
    }

    fn redirect(&mut self, attempt: Attempt, target: Target) {
        let redirections = attempt.redirections + 1;
        let made = attempt.made + 1;
        if made >= ATTEMPTS_MAX {
            let reason = format!("the cluster's nodes redirected the command {redirections} times");
            let error = CommandError::new(FailureKind::Unavailable, reason);
            self.outcomes[attempt.index] = Some(Err(error));
            return;
        }
        if redirections > REDIRECTIONS_AT_ONCE {
            self.wait_at_least(backoff(made));
        }
        self.due.push(Attempt {
            target,
            made,
            redirections,
            ..attempt
        });
    }

    fn again_later(&mut self, attempt: Attempt, error: CommandError) {
        let made = attempt.made + 1;
        self.outcomes[attempt.index] = Some(Err(error));
        if made < ATTEMPTS_MAX {
            self.wait_at_least(backoff(made));
            self.due.push(Attempt {
                target: Target::Owner,
                made,
                redirections: 0,
                ..attempt
            });
        }
    }

    fn wait_at_least(&mut self, wait: Duration) {
        self.between.wait = self.between.wait.max(Some(wait));
    }
}

/// How long to wait after `made` attempts.
fn backoff(made: u32) -> Duration {
    let doubled = made.saturating_sub(1).min(16);
    (BACKOFF_MIN * (1 << doubled)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> NodeAddr {
        NodeAddr::new("n", port)
    }

    fn unavailable() -> CommandError {
        CommandError::new(FailureKind::Unavailable, "LOADING")
    }

    fn unreachable() -> CommandError {
        CommandError::new(FailureKind::Unreachable, "broken")
    }

    fn given_up() -> CommandError {
        CommandError::new(FailureKind::Unavailable, "out of patience")
    }

    /// Attempts of one command, all of which get `answer`: how many there were, and the outcome.
    fn always(answer: &Answer) -> (u32, Result<Value, CommandError>) {
        let mut attempts = Attempts::new(1, |_| None);
        let mut rounds = 0;
        while !attempts.is_done() {
            for attempt in attempts.next_round() {
                attempts.record(attempt, answer.clone());
            }
            rounds += 1;
        }
        (rounds, attempts.finish(given_up).remove(0))
    }

    #[test]
    fn each_command_has_its_own_fate() {
        let mut attempts = Attempts::new(6, |index| (index == 5).then(given_up));
        let refused = CommandError::new(FailureKind::Memory, "OOM");
        let answers = [
            Answer::Reply(Value::Okay),
            Answer::Failed(refused.clone()),
            Answer::Moved(node(2)),
            Answer::Ask(node(3)),
            Answer::Later(unavailable()),
        ];
        let round = attempts.next_round();
        assert_eq!(round.len(), 5);
        assert!(round.iter().all(|attempt| attempt.target == Target::Owner));
        for (attempt, answer) in round.into_iter().zip(answers) {
            attempts.record(attempt, answer);
        }
        assert_eq!(
            attempts.between(),
            Between {
                refresh: true,
                wait: Some(BACKOFF_MIN)
            }
        );
        let round = attempts.next_round();
        let targets: Vec<_> = round.iter().map(|a| (a.index, a.target.clone())).collect();
        assert_eq!(
            targets,
            [
                (2, Target::Node(node(2))),
                (3, Target::Ask(node(3))),
                (4, Target::Owner)
            ]
        );
        for attempt in round {
            attempts.record(attempt, Answer::Reply(Value::Nil));
        }
        assert_eq!(attempts.between(), Between::default());
        assert!(attempts.is_done());
        let nil = Ok(Value::Nil);
        assert_eq!(
            attempts.finish(given_up),
            [
                Ok(Value::Okay),
                Err(refused),
                nil.clone(),
                nil.clone(),
                nil,
                Err(given_up())
            ]
        );
    }

    #[test]
    fn nothing_is_tried_for_ever() {
        let (rounds, outcome) = always(&Answer::Later(unreachable()));
        assert_eq!((rounds, outcome), (ATTEMPTS_MAX, Err(unreachable())));
        let (rounds, outcome) = always(&Answer::Demoted(unavailable()));
        assert_eq!((rounds, outcome), (ATTEMPTS_MAX, Err(unavailable())));
        for redirection in [Answer::Moved(node(1)), Answer::Ask(node(1))] {
            let (rounds, outcome) = always(&redirection);
            assert_eq!(rounds, ATTEMPTS_MAX);
            assert!(outcome.unwrap_err().is_transient());
        }
    }

    #[test]
    fn redirections_are_followed_at_once_until_the_nodes_seem_to_disagree() {
        let mut attempts = Attempts::new(1, |_| None);
        for redirection in 1..=REDIRECTIONS_AT_ONCE + 1 {
            let attempt = attempts.next_round().remove(0);
            attempts.record(attempt, Answer::Ask(node(1)));
            let waits = attempts.between().wait.is_some();
            assert_eq!(waits, redirection > REDIRECTIONS_AT_ONCE, "{redirection}");
        }
    }

    #[test]
    fn a_command_that_waited_goes_to_whoever_owns_its_slot_then() {
        let mut attempts = Attempts::new(1, |_| None);
        let attempt = attempts.next_round().remove(0);
        attempts.record(attempt, Answer::Ask(node(1)));
        let attempt = attempts.next_round().remove(0);
        attempts.record(attempt, Answer::Later(unreachable()));
        assert!(attempts.between().refresh);
        assert_eq!(attempts.next_round()[0].target, Target::Owner);
    }

    #[test]
    fn what_is_given_up_keeps_its_last_reason() {
        let mut attempts = Attempts::new(2, |_| None);
        for attempt in attempts.next_round() {
            let later = attempt.index == 0;
            let answer = if later {
                Answer::Later(unreachable())
            } else {
                Answer::Moved(node(1))
            };
            attempts.record(attempt, answer);
        }
        assert_eq!(
            attempts.finish(given_up),
            [Err(unreachable()), Err(given_up())]
        );
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let waits: Vec<_> = (1..=8).map(|made| backoff(made).as_millis()).collect();
        assert_eq!(waits, [25, 50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }
}
