use super::*;
use Dim::{Any, Is};

fn spec(name: &str, dims: &[Dim]) -> TensorSpec {
    TensorSpec::new(name, Element::F32, dims)
}

fn lerobot() -> (Vec<TensorSpec>, Vec<TensorSpec>) {
    let picture = [Is(1), Is(3), Is(224), Is(224)];
    let inputs = vec![
        spec("observation.images.top", &picture),
        spec("observation.state", &[Is(1), Is(3)]),
    ];
    (inputs, vec![spec("action", &[Is(1), Is(16), Is(3)])])
}

/// Mean and spread of each column of the state, and of the action.
fn stats_of(state: [&[f64]; 2], action: [&[f64]; 2]) -> FeatureStats {
    let of = |[mean, std]: [&[f64]; 2]| {
        std::collections::BTreeMap::from([
            ("mean".to_owned(), mean.to_vec()),
            ("std".to_owned(), std.to_vec()),
        ])
    };
    FeatureStats(std::collections::BTreeMap::from([
        ("observation.state".to_owned(), of(state)),
        ("action".to_owned(), of(action)),
    ]))
}

/// Two joints and a gripper; actions are where states are.
fn stats() -> FeatureStats {
    stats_of(
        [&[1.2, -0.4, 0.6], &[0.2, 0.3, 0.3]],
        [&[1.25, -0.35, 0.5], &[0.2, 0.25, 0.4]],
    )
}

const SAID: &str = "task = \"lift\"\nperiod_s = 0.05\njoints = [\"a\", \"b\"]\n\
    input.\"observation.images.top\".range = \"unit\"";

fn resolved(
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
    stats: Option<&FeatureStats>,
    map: &str,
) -> Result<Resolved, String> {
    let table = map.parse().expect("TOML");
    let known = Known {
        inputs,
        outputs,
        stats,
        cameras: &[],
        joints: &[],
        package: None,
        stem: "act",
    };
    let map = Map::of(&table).map_err(|e| e.to_string())?;
    infer(&known, &map).map_err(|e| e.to_string())
}

fn mapping(outcome: Result<Resolved, String>) -> Mapping {
    match outcome {
        Ok(Resolved::Mapping(mapping)) => *mapping,
        other => panic!("expected a mapping, got {other:?}"),
    }
}

fn keys(outcome: Result<Resolved, String>) -> Vec<String> {
    match outcome {
        Ok(Resolved::Questions(questions)) => questions.into_iter().map(|q| q.key).collect(),
        other => panic!("expected questions, got {other:?}"),
    }
}

#[test]
fn names_shapes_and_statistics_of_lerobot_say_nearly_everything() {
    let (inputs, outputs) = lerobot();
    let made = mapping(resolved(&inputs, &outputs, Some(&stats()), SAID));
    let at = |path: &[&str]| {
        let mut value = toml::Value::Table(made.manifest.clone());
        for key in path {
            value = match key.parse::<usize>() {
                Ok(i) => value[i].clone(),
                Err(_) => value[*key].clone(),
            };
        }
        value
    };
    assert_eq!(at(&["camera", "0", "name"]), "top".into());
    assert_eq!(at(&["camera", "0", "layout"]), "bchw".into());
    assert_eq!(at(&["camera", "0", "fit"]), "exact".into());
    assert_eq!(at(&["action", "representation"]), "absolute_joints".into());
    assert_eq!(at(&["action", "gripper"]), true.into());
    assert_eq!(at(&["units", "joints"]), "rad".into());
    assert_eq!(at(&["chunk", "rows"]), 16.into());
    assert_eq!(at(&["action", "normalisation"]), "mean_std".into());
}

#[test]
fn what_is_not_known_is_asked_and_nothing_else() {
    let (inputs, outputs) = lerobot();
    let asked = keys(resolved(
        &inputs,
        &outputs,
        Some(&stats()),
        "task = \"lift\"\njoints = [\"a\", \"b\"]",
    ));
    assert_eq!(
        asked,
        ["input.\"observation.images.top\".range", "period_s"]
    );
    let line = |without: &str| -> String {
        SAID.lines()
            .filter(|line| !line.starts_with(without))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(
        keys(resolved(&inputs, &outputs, Some(&stats()), &line("task"))),
        ["task"]
    );
    assert_eq!(
        keys(resolved(&inputs, &outputs, Some(&stats()), &line("joints"))),
        ["joints"]
    );
    // Without statistics neither normalisation nor meaning can be seen.
    let asked = keys(resolved(&inputs, &outputs, None, SAID));
    assert_eq!(
        asked,
        [
            "state_normalisation",
            "action_normalisation",
            "representation"
        ]
    );
    // Degrees are no more than a question: they might be something else.
    let mut degrees = stats();
    for feature in degrees.0.values_mut() {
        for values in feature.values_mut() {
            values.iter_mut().take(2).for_each(|v| *v *= 57.3);
        }
    }
    assert_eq!(
        keys(resolved(&inputs, &outputs, Some(&degrees), SAID)),
        ["units"]
    );
    // Relative actions are not where states are.
    let mut relative = stats();
    if let Some(mean) = relative.0.get_mut("action").and_then(|s| s.get_mut("mean")) {
        mean[0] = 0.0;
    }
    assert_eq!(
        keys(resolved(&inputs, &outputs, Some(&relative), SAID)),
        ["representation"]
    );
}

#[test]
fn small_steps_do_not_tell_the_unit_of_joints_but_places_do() {
    let (inputs, outputs) = lerobot();
    let steps = |state: [&[f64]; 2]| stats_of(state, [&[0.0, 0.0, 0.5], &[1.4, 1.4, 0.4]]);
    let said = format!("{SAID}\nrepresentation = \"joint_steps\"");
    let degrees = steps([&[100.0, -20.0, 0.6], &[20.0, 30.0, 0.3]]);
    let asked =
        |stats: &FeatureStats, said: &str| keys(resolved(&inputs, &outputs, Some(stats), said));
    assert_eq!(asked(&degrees, &said), ["units"]);
    let rad = steps([&[1.2, -0.4, 0.6], &[0.2, 0.3, 0.3]]);
    let made = mapping(resolved(&inputs, &outputs, Some(&rad), &said));
    assert_eq!(made.manifest["units"]["joints"], "rad".into());
    // Without a state nothing says where joints are.
    let without = [inputs[0].clone()];
    let asked = keys(resolved(&without, &outputs, Some(&degrees), &said));
    assert_eq!(asked, ["units"]);
    // A tool policy that sees joints, in degrees; one that sees none has none.
    let pose = [spec("action", &[Is(1), Is(16), Is(7)])];
    let tool = format!(
        "{said}\nnormalisation = \"as_is\"\ntool = {{ frame = \"hand\" }}\ngripper = [0.0, 1.0]"
    );
    let asked = keys(resolved(&inputs, &pose, Some(&degrees), &tool));
    assert_eq!(asked, ["units"]);
    let made = mapping(resolved(&inputs, &pose, Some(&rad), &tool));
    assert_eq!(made.manifest["units"]["joints"], "rad".into());
    let made = mapping(resolved(&without, &pose, Some(&degrees), &tool));
    assert_eq!(made.manifest["units"]["joints"], "rad".into());
}

#[test]
fn grippers_of_two_arms_are_columns_that_go_by_the_gripper() {
    let (mut inputs, mut outputs) = lerobot();
    inputs[1].dims = vec![Is(1), Is(4)];
    outputs[0].dims = vec![Is(1), Is(16), Is(4)];
    let said = SAID.replace(
        "[\"a\", \"b\"]",
        "[\"left_a\", \"left_gripper\", \"right_a\", \"right_gripper\"]",
    );
    let both = |gripper: f64| {
        let (mean, std) = (
            [1.2, 0.6 * gripper, -1.4, 0.5 * gripper],
            [0.2, 0.3 * gripper, 0.3, 0.3 * gripper],
        );
        stats_of([&mean, &std], [&mean, &std])
    };
    let made = mapping(resolved(&inputs, &outputs, Some(&both(1.0)), &said));
    let noted = |what: &str| made.notes.iter().any(|[note, _]| note.starts_with(what));
    assert!(noted("gripper: 0 closed") && noted("joints in rad"));
    // In hundredths: that is no fraction, and says nothing of the joints.
    let asked = keys(resolved(&inputs, &outputs, Some(&both(100.0)), &said));
    assert_eq!(asked, ["gripper"]);
    // Without statistics both are asked.
    let said = format!("{said}\nnormalisation = \"as_is\"\nrepresentation = \"absolute_joints\"");
    let asked = keys(resolved(&inputs, &outputs, None, &said));
    assert_eq!(asked, ["units", "gripper"]);
}

#[test]
fn inputs_of_any_size_have_to_be_fixed() {
    let (mut inputs, outputs) = lerobot();
    inputs[0].dims = vec![Any, Is(3), Any, Any];
    let key = "input.\"observation.images.top\".size";
    assert_eq!(
        keys(resolved(&inputs, &outputs, Some(&stats()), SAID)),
        [key]
    );
    let said = format!("{SAID}\n{key} = [320, 240]");
    let made = mapping(resolved(&inputs, &outputs, Some(&stats()), &said));
    assert_eq!(made.manifest["camera"][0]["height"], 240.into());
    inputs[1].dims = vec![Is(1), Any];
    let error = resolved(&inputs, &outputs, Some(&stats()), &said).expect_err("no columns");
    assert!(
        error.contains("`observation.state`: expected fixed dimensions"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_is_one_clear_sentence() {
    let (inputs, outputs) = lerobot();
    let with = |inputs: &[TensorSpec], outputs: &[TensorSpec], map: &str| {
        resolved(inputs, outputs, Some(&stats()), map).expect_err("refused")
    };
    let four = [spec("action", &[Is(1), Is(16), Is(4)])];
    let flat = [spec("action", &[Is(1), Is(3)])];
    let batch = [spec("action", &[Is(8), Is(16), Is(3)])];
    let mut grey = inputs.clone();
    grey[0].dims = vec![Is(1), Is(1), Is(224), Is(224)];
    let mut text = inputs.clone();
    text.push(TensorSpec::new("input_ids", Element::I64, &[Is(1), Any]));
    let mut two = inputs.clone();
    two.push(spec("other.state", &[Is(1), Is(3)]));
    let unknown = format!("{SAID}\ninput.nothing.role = \"state\"");
    let word = format!("{SAID}\nnormalisation = \"log\"");
    let quantile = format!("{SAID}\nnormalisation = \"quantile\"");
    let range = SAID.replace("unit", "percent");
    for (error, says) in [
        (
            with(&inputs, &four, SAID),
            "output `action`: expected 2 columns (a, b), or one more for the gripper, got 4",
        ),
        (
            with(&inputs, &flat, SAID),
            "output `action`: expected f32 [B, H, D]: a chunk of H actions of D columns, got f32 [1, 3]",
        ),
        (
            with(&inputs, &batch, SAID),
            "expected a batch of 1, got f32 [8, 16, 3]",
        ),
        (
            with(&grey, &outputs, SAID),
            "`observation.images.top`: expected three colours",
        ),
        (
            with(&text, &outputs, SAID),
            "input `input_ids`: expected pictures, state or noise (a policy that reads text",
        ),
        (
            with(&two, &outputs, SAID),
            "input `other.state`: expected one input of its kind",
        ),
        (with(&inputs, &outputs, &unknown), "map: input `nothing`"),
        (with(&inputs, &outputs, &word), "got `log`"),
        (
            with(&inputs, &outputs, &quantile),
            "expected q01 and q99 of observation.state",
        ),
        (with(&inputs, &outputs, &range), "got `percent`"),
        (
            with(&inputs[1..], &outputs, "task = \"a\""),
            "inputs: expected one that takes pictures, got none",
        ),
    ] {
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn past_observations_and_noise_are_seen_in_rank_and_name() {
    let inputs = [
        spec(
            "observation.images.top",
            &[Is(1), Is(2), Is(3), Is(96), Is(96)],
        ),
        spec("observation.state", &[Is(1), Is(2), Is(3)]),
        spec("noise", &[Any, Is(16), Is(3)]),
    ];
    let (_, outputs) = lerobot();
    let said = format!("{SAID}\nfirst_row = 1\nhorizon = 8");
    let made = mapping(resolved(&inputs, &outputs, Some(&stats()), &said)).manifest;
    assert_eq!(made["history"]["steps"], 2.into());
    assert_eq!(made["history"]["period_s"], 0.05.into());
    assert_eq!(made["camera"][0]["layout"], "btchw".into());
    assert_eq!(made["proprio"]["layout"], "btd".into());
    assert_eq!(made["noise"]["shape"][0], 1.into());
    assert_eq!(made["action"]["horizon"], 8.into());
}
