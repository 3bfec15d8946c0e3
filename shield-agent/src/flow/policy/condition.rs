//! Conditions in CEL: compiled when the policy is read, evaluated with a bounded amount of work.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Env, Program, Value};
use regex::Regex;

use super::facts::{Facts, VARIABLES, fields_of};

/// Longest condition, in bytes.
const MAX_SOURCE: usize = 4096;

/// What a condition takes of a variable: its fields, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) variable: &'static str,
    pub(super) fields: Vec<&'static str>,
}

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Whether a condition may look at the body: it names one of its fields, or takes `request` in a way we cannot follow.
static READS_BODY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(json|text|form|size)\b|\brequest\b\s*([^.\s]|$)").expect("a constant pattern")
});

/// A compiled condition.
pub(super) struct Condition {
    source: String,
    program: Program,
    takes: Vec<Taken>,
    /// Whether it may look at the body.
    pub(super) reads_body: bool,
    /// Whether it may look at the action.
    pub(super) reads_action: bool,
}

impl Condition {
    /// Compiles a condition; the error is for whoever wrote it.
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("a condition has at most {MAX_SOURCE} bytes"));
        }
        let program = ENVIRONMENT.compile(source).map_err(|errors| describe(&errors))?;
        let references = program.references();
        let mut own = Vec::new();
        loop_names(program.expression(), &mut own);
        let known = |name: &&str| fields_of(name).is_some() || name.starts_with('@') || own.contains(name);
        let strange = references.variables().into_iter().find(|name| !known(name));
        if let Some(name) = strange {
            let all = VARIABLES.map(|(name, _)| name).join(", ");
            return Err(format!("`{name}` is not known: a condition can speak of {all}"));
        }
        let reads_action = references.has_variable("action");
        if loops_inside_loops(program.expression(), false) {
            return Err(
                "all, exists, map and filter may not stand inside each other: it could take too long".into(),
            );
        }
        let reads_body = references.has_variable("request") && READS_BODY.is_match(source);
        let mut takes = Vec::new();
        take(program.expression(), &mut takes);
        Ok(Self { source: source.to_owned(), program, takes, reads_body, reads_action })
    }

    /// Whether it is true; `None` when it cannot be evaluated.
    pub(super) fn evaluate(&self, facts: &Facts<'_>) -> Option<bool> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for taken in &self.takes {
            // What cannot be turned into a value is missing, and a condition on it cannot be evaluated.
            if let Some(value) = facts.variable(taken) {
                context.add_variable_from_value(taken.variable, value);
            }
        }
        // A library's mistake must not cost more than the one request that met it.
        match catch_unwind(AssertUnwindSafe(|| self.program.execute(&context))) {
            Ok(Ok(Value::Bool(value))) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.source).finish()
    }
}

fn describe(errors: &cel::ParseErrors) -> String {
    let first = errors.errors.first().map(|error| error.msg.trim().to_owned());
    format!("not a CEL condition: {}", first.unwrap_or_else(|| "it cannot be read".into()))
}

fn loops_inside_loops(expression: &IdedExpr, inside: bool) -> bool {
    if let Expr::Comprehension(of) = &expression.expr {
        return inside
            || loops_inside_loops(&of.iter_range, inside)
            || [&of.loop_cond, &of.loop_step, &of.result].iter().any(|part| loops_inside_loops(part, true));
    }
    parts(&expression.expr).into_iter().any(|part| loops_inside_loops(part, inside))
}

/// What an expression takes of each variable: most conditions look at one or two fields, and every other would have to
/// be made for nothing.
fn take(expression: &IdedExpr, takes: &mut Vec<Taken>) {
    let (name, field) = match &expression.expr {
        Expr::Ident(name) => (name, None),
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(name) => (name, Some(select.field.as_str())),
            _ => return take(&select.operand, takes),
        },
        other => return parts(other).into_iter().for_each(|part| take(part, takes)),
    };
    let Some((variable, all)) = VARIABLES.into_iter().find(|(variable, _)| variable == name) else { return };
    // A field that does not exist is missing either way.
    let fields = all.iter().filter(|known| field.is_none_or(|field| field == **known));
    let at = takes.iter().position(|taken| taken.variable == variable).unwrap_or_else(|| {
        takes.push(Taken { variable, fields: vec![] });
        takes.len() - 1
    });
    takes[at].fields.extend(fields);
    takes[at].fields.sort_unstable();
    takes[at].fields.dedup();
}

/// What authors of loops call their items.
fn loop_names<'a>(expression: &'a IdedExpr, names: &mut Vec<&'a str>) {
    if let Expr::Comprehension(of) = &expression.expr {
        names.push(&of.iter_var);
        names.extend(of.iter_var2.as_deref());
    }
    parts(&expression.expr).into_iter().for_each(|part| loop_names(part, names));
}

/// The expressions an expression is made of.
fn parts(expression: &Expr) -> Vec<&IdedExpr> {
    fn of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
        match entry {
            EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
            EntryExpr::StructField(field) => vec![&field.value],
        }
    }
    match expression {
        Expr::Comprehension(of) => {
            vec![&of.iter_range, &of.accu_init, &of.loop_cond, &of.loop_step, &of.result]
        }
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Map(map) => map.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Expr::Struct(of) => of.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_could_never_be_evaluated_is_refused_when_it_is_read() {
        for (source, complaint) in [
            ("request.method ==", "not a CEL condition"),
            ("reqest.method == 'GET'", "`reqest` is not known"),
            ("request.json.a.all(x, request.json.b.exists(y, y == x))", "inside each other"),
            (&format!("'{}' == ''", "x".repeat(5000)), "at most"),
        ] {
            let refused = Condition::compile(source).unwrap_err();
            assert!(refused.contains(complaint), "{source}: {refused}");
        }
    }

    #[test]
    fn a_condition_takes_the_fields_it_names_and_all_when_it_names_none() {
        let takes = |source: &str| {
            let takes = Condition::compile(source).unwrap().takes;
            takes.into_iter().map(|taken| (taken.variable, taken.fields)).collect::<Vec<_>>()
        };
        let source = "request.port == 8443 && has(request.headers.x) && action.effect != 'read'";
        assert_eq!(takes(source), [("request", vec!["headers", "port"]), ("action", vec!["effect"])]);
        assert_eq!(takes("caller['uid'] == 0"), [("caller", vec!["cmdline", "comm", "exe", "uid"])]);
        assert_eq!(takes("agent == 'x' || request.no_such_field"), [("agent", vec![]), ("request", vec![])]);
        let loops = "request.segments.exists(part, part == agent && request.query.x == part)";
        assert_eq!(takes(loops), [("request", vec!["query", "segments"]), ("agent", vec![])]);
    }

    #[test]
    fn a_condition_knows_whether_it_reads_the_body() {
        let reads = |source: &str| Condition::compile(source).unwrap().reads_body;
        assert!(reads("request.json.cascade == true") && reads("request['text'] == 'x'"));
        assert!(reads("request.size > 10") && reads("request[agent] == 'x'"));
        assert!(!reads("request.query.force == 'true'") && !reads("agent == 'x' && caller.uid == 0"));
        assert!(Condition::compile("request.json.items.exists(item, item.id == 7)").unwrap().reads_body);
    }
}
