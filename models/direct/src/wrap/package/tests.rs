use serde_json::json;

use super::*;

fn read(manifest: &Value) -> Result<Package, String> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(MANIFEST), manifest.to_string()).expect("written");
    Package::read(folder.path()).map_err(|e| e.to_string())
}

fn good() -> Value {
    json!({
        "format": "policy_package", "version": "1.0", "policy": {"name": "act"},
        "model": {
            "n_obs_steps": 1,
            "runner": {"class_path": "physicalai.inference.runners.SinglePass", "init_args": {}},
            "artifacts": {"onnx": "act.onnx"},
            "preprocessors": [
                {"type": "normalize", "mode": "mean_std", "artifact": "stats.safetensors", "features": ["observation.state"]},
                {"type": "resize", "image_resolution": [240, 320], "mode": "stretch"},
                {"type": "to_float_tensor"}],
            "postprocessors": [
                {"type": "denormalize", "mode": "min_max", "artifact": "stats.safetensors", "features": ["action"]},
                {"type": "action_chunk_trimmer", "n_action_steps": 20}]},
        "hardware": {
            "robots": [{"name": "main", "state": {"shape": [3], "order": ["a.pos", "b.pos", "gripper.pos"]}}],
            "cameras": [{"name": "top", "shape": [3, 480, 640]}]}})
}

fn with(pointer: &str, value: Value) -> Value {
    let mut manifest = good();
    *manifest.pointer_mut(pointer).expect("there") = value;
    manifest
}

#[test]
fn a_package_says_what_it_says() {
    let package = read(&good()).expect("understood");
    let says = |key: &str| package.says.get(key).cloned();
    assert_eq!(says("variant"), Some("act".into()));
    assert_eq!(says("state_normalisation"), Some("mean_std".into()));
    assert_eq!(says("action_normalisation"), Some("min_max".into()));
    assert_eq!(says("horizon"), Some(20.into()));
    let joints: Vec<toml::Value> = vec!["a".into(), "b".into()];
    assert_eq!(says("joints"), Some(joints.into()));
    assert_eq!(package.resize, Some(([320, 240], "stretch")));
    assert_eq!(package.cameras, [("top".to_owned(), Some([640, 480]))]);
    assert!(package.graph.ends_with("act.onnx"));
    assert!(
        package
            .stats
            .is_some_and(|f| f.ends_with("stats.safetensors"))
    );
}

#[test]
fn what_is_not_understood_is_refused_by_its_name() {
    for (pointer, value, says) in [
        (
            "/format",
            json!("other"),
            "`format`: expected `policy_package`, got `other`",
        ),
        ("/version", json!("2.0"), "`version`: expected `1.0`"),
        (
            "/model/runner",
            json!({"type": "two_stage"}),
            "got `two_stage`",
        ),
        (
            "/model/artifacts",
            json!({"openvino": "act.xml"}),
            "expected one ONNX file",
        ),
        (
            "/model/artifacts",
            json!({"onnx": "../act.onnx"}),
            "a file inside the package",
        ),
        (
            "/model/preprocessors/2",
            json!({"type": "hf_tokenizer"}),
            "got `hf_tokenizer`",
        ),
        ("/model/preprocessors/0/mode", json!("log"), "got `log`"),
        ("/model/preprocessors/1/mode", json!("melt"), "got `melt`"),
        (
            "/hardware/robots/0/state/order",
            json!(["gripper.pos", "a.pos", "b.pos"]),
            "`hardware.robots[0].state.order`: expected the one gripper last",
        ),
        (
            "/model/preprocessors/2",
            json!({"type": "normalize", "mode": "identity"}),
            "expected one component for a feature, got one more, `as_is`",
        ),
        (
            "/model/postprocessors/0",
            json!({"class_path": "a.b.Clamp"}),
            "got `Clamp`",
        ),
    ] {
        let error = read(&with(pointer, value)).expect_err("refused");
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn only_what_a_component_is_for_is_normalised_and_one_that_lists_nothing_is_for_all() {
    let said = |pointer: &str, value: Value| {
        let package = read(&with(pointer, value)).expect("understood");
        let says = |key| package.says[key].as_str().map(str::to_owned);
        let words = ["state_normalisation", "action_normalisation"].map(says);
        (words.map(Option::unwrap_or_default), package)
    };
    let (before, after) = (
        "/model/preprocessors/0/features",
        "/model/postprocessors/0/features",
    );
    let (words, package) = said(before, json!(["observation.images.top"]));
    assert_eq!(words, ["as_is", "min_max"]);
    let picture = "observation.images.top";
    assert_eq!(package.normalises(picture, None).ok(), Some("mean_std"));
    assert_eq!(
        package.normalises("observation.images.side", None).ok(),
        Some("as_is")
    );
    assert_eq!(said(after, json!(["other"])).0, ["mean_std", "as_is"]);
    assert_eq!(said(after, json!([])).0, ["mean_std", "min_max"]);
    assert_eq!(
        said("/model/postprocessors", json!([])).0,
        ["mean_std", "as_is"]
    );
    // All that there are statistics of.
    let (words, package) = said(before, json!([]));
    assert_eq!(words, ["mean_std", "min_max"]);
    let stats = FeatureStats([(picture.to_owned(), Default::default())].into());
    assert_eq!(
        package.normalises(picture, Some(&stats)).ok(),
        Some("mean_std")
    );
    assert_eq!(
        package.normalises("other", Some(&stats)).ok(),
        Some("as_is")
    );
}

#[test]
fn grippers_of_two_arms_stay_where_they_are() {
    let order = json!([
        "left_a.pos",
        "left_gripper.pos",
        "right_a.pos",
        "right_gripper.pos"
    ]);
    let package = read(&with("/hardware/robots/0/state/order", order)).expect("understood");
    let joints = ["left_a", "left_gripper", "right_a", "right_gripper"];
    let joints: Vec<toml::Value> = joints.map(Into::into).to_vec();
    assert_eq!(package.says.get("joints"), Some(&joints.into()));
}
