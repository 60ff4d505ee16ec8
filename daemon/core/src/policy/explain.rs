//! Why a request would be allowed or denied: the decision again, with its reasons, for people.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use keyagent_common::op::OperationCode;

use super::{
    Policy, Rate, Role, Subject,
    operations::{Kind, Operations, kind},
    rule::Rule,
};

/// What the policy says about one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the subject may connect at all.
    pub may_connect: bool,
    /// Its role beside the rules.
    pub role: Role,
    /// Whether the operation is allowed, its obligations aside.
    pub allowed: bool,
    /// The rule that allows it, if it is not the role.
    pub rule: Option<String>,
    /// What that rule demands.
    pub obligations: Obligations,
    /// What every rule says, in file order; empty for whoever may do everything.
    pub rules: Vec<RuleVerdict>,
    /// One sentence.
    pub why: String,
}

/// What a rule demands of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Obligations {
    /// How often.
    pub rate: Option<Rate>,
    /// Names that must be in the context.
    pub require_context: Vec<String>,
    /// `data_key` gives no plain key.
    pub no_reveal: bool,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleVerdict {
    /// Its name.
    pub rule: String,
    /// Whether it allows, or what is in the way first.
    pub verdict: Verdict,
}

/// Whether a rule allows, or what is in the way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It allows the request.
    Allows,
    /// It is not about this caller, because of this field.
    NotThisCaller(&'static str),
    /// It does not allow the operation.
    NotThisOperation,
    /// It is not about this key.
    NotThisKey,
}

impl Policy {
    /// Explains a decision. Without a key: whether the operation is allowed on some key at least.
    ///
    /// Agrees with [`Policy::rights`] and what these allow; whether rate and context hold is not asked.
    pub fn explain(&self, subject: &Subject<'_>, operation: OperationCode, key: Option<&str>) -> Explanation {
        if !subject.is_mapped() {
            let why = format!("uid {} is nobody's: it may not connect, whatever the rules say", subject.uid);
            return Explanation::of_role(Role::User, false, why);
        }
        let role = self.role(subject);
        if matches!(role, Role::Owner | Role::Admin) {
            return Explanation::of_role(role, true, format!("{role}: may do everything"));
        }
        let verdicts: Vec<Verdict> =
            self.rules.iter().map(|rule| verdict(rule, subject, operation, key)).collect();
        let by_role = match role {
            Role::Operator => Operations::OPERATOR,
            Role::Owner | Role::Admin | Role::User => Operations::HELLO,
        };
        let known = role == Role::Operator
            || verdicts.iter().any(|verdict| !matches!(verdict, Verdict::NotThisCaller(_)));
        let mut explanation = if !known {
            Explanation::of_role(role, false, "no rule is about this caller: it may not connect".to_string())
        } else if by_role.contains(operation) {
            Explanation::of_role(role, true, format!("{role}: may {}", operation.name()))
        } else {
            self.by_rules(role, &verdicts)
        };
        explanation.may_connect = known;
        explanation.rules = self
            .rules
            .iter()
            .zip(verdicts)
            .map(|(rule, verdict)| RuleVerdict { rule: rule.name.to_string(), verdict })
            .collect();
        explanation
    }

    fn by_rules(&self, role: Role, verdicts: &[Verdict]) -> Explanation {
        let mut allowing =
            self.rules.iter().zip(verdicts).filter(|(_, verdict)| **verdict == Verdict::Allows);
        let Some((first, _)) = allowing.next() else {
            let why = "no rule about this caller allows it: denied by default".to_string();
            return Explanation::of_role(role, false, why);
        };
        let mut explanation = Explanation::of_role(role, true, format!("rule {:?} allows it", &*first.name));
        explanation.rule = Some(first.name.to_string());
        explanation.obligations = Obligations {
            rate: first.rate,
            require_context: first.require_context.iter().map(ToString::to_string).collect(),
            no_reveal: first.no_reveal,
        };
        explanation
    }
}

impl Explanation {
    fn of_role(role: Role, allowed: bool, why: String) -> Self {
        let (obligations, rules) = (Obligations::default(), Vec::new());
        Self { may_connect: allowed, role, allowed, rule: None, obligations, rules, why }
    }
}

fn verdict(rule: &Rule, subject: &Subject<'_>, operation: OperationCode, key: Option<&str>) -> Verdict {
    if let Some(field) = rule.who.mismatch(subject) {
        return Verdict::NotThisCaller(field);
    }
    if !rule.allow.contains(operation) {
        return Verdict::NotThisOperation;
    }
    let about_key = match key {
        _ if kind(operation) == Kind::Agent => true,
        Some(key) => rule.allows(operation, key, None),
        None => !rule.keys.is_empty(),
    };
    if about_key { Verdict::Allows } else { Verdict::NotThisKey }
}
