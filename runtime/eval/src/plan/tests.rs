use super::*;

/// Two policies, two tasks.
pub(crate) fn example() -> String {
    r#"
schema = 1
name = "demo against noise"
seed = 7
trials = 4
[stop]
rule = "fixed"
[[policy]]
name = "demo"
bundle = "bundle"
[[policy]]
name = "noisy"
bundle = "noisy"
[[task]]
name = "pick"
kind = "pick"
time_limit_s = 10
milestones = ["lifted"]
start = { first_seed = 8001 }
[[task]]
name = "fold"
instruction = "fold the towel"
time_limit_s = 60
start = { scenes = ["left", "right", "left, turned", "right, turned"] }
"#
    .to_owned()
}

#[test]
fn a_plan_is_read() {
    let plan = Plan::parse(&example()).expect("a plan");
    assert_eq!((plan.slots(), plan.blind, plan.level), (16, true, 0.95));
    assert_eq!(plan.tasks[0].condition(3), Some(Condition::Seed(8004)));
    let words = plan.tasks[1].condition(2).expect("the third").to_string();
    assert_eq!(words, "left, turned");
    assert_eq!(plan.tasks[1].condition(4), None);
}

#[test]
fn what_cannot_be_is_refused_with_its_field() {
    for (from, to, wanted) in [
        ("schema = 1", "schema = 2", "`schema` is 2; expected 1"),
        (
            "trials = 4",
            "trials = 0",
            "`trials` is 0; expected 1 to 1000",
        ),
        ("trials = 4", "trials = -3", "trials"),
        (
            "trials = 4",
            "trials = 5",
            "task `fold`: start` is 4; expected at least 5",
        ),
        ("trials = 4", "trials = 4\ntrails = 5", "trails"),
        ("seed = 7\n", "", "seed"),
        ("\"noisy\"\nb", "\"demo\"\nb", "`demo` twice"),
        (
            "time_limit_s = 60",
            "time_limit_s = inf",
            "`task `fold`: time_limit_s` is inf",
        ),
        ("first_seed = 8001", "seeds = [1, 2, 1, 3]", "1 twice"),
        (
            "first_seed = 8001",
            "first_seed = 18446744073709551615",
            "first_seed",
        ),
        (
            "rule = \"fixed\"",
            "rule = \"when it looks good\"",
            "expected fixed or sequential",
        ),
        (
            "rule = \"fixed\"",
            "rule = \"sequential\"",
            "`stop.alpha` is missing",
        ),
        (
            "rule = \"fixed\"",
            "rule = \"sequential\"\nalpha = 2",
            "`stop.alpha` is 2",
        ),
        ("[\"lifted\"]", "[\"lifted\", \"lifted\"]", "milestones"),
        ("schema = 1", "schema = 1\nlevel = 1.0", "`level` is 1"),
    ] {
        let text = example();
        assert!(text.contains(from), "{from}");
        let error = Plan::parse(&text.replacen(from, to, 1)).expect_err(to);
        assert!(error.to_string().contains(wanted), "{to}: {error}");
    }
}

#[test]
fn a_sequential_rule_is_for_two() {
    let text = example().replace("rule = \"fixed\"", "rule = \"sequential\"\nalpha = 0.05");
    let plan = Plan::parse(&text).expect("a plan");
    assert_eq!(plan.stop, Stop::Sequential { alpha: 0.05 });
    let third = text + "[[policy]]\nname = \"third\"\nbundle = \"x\"\n";
    assert!(Plan::parse(&third).is_err());
}
