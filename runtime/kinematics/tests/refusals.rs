//! What is asked of a description and cannot be is refused by name.

#![allow(clippy::unwrap_used)]

use tactus_kinematics::{
    Chain, Inverse, InverseSpec, KinematicsError, LeftOutBecause, SelfCollision,
};
use tactus_types::{JointVec, MAX_JOINTS};

const ODD: &str = include_str!("data/odd_arm.urdf");
const JOINTS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// The error's text, which must name what is at fault.
#[track_caller]
fn refused(result: Result<impl Sized, KinematicsError>, says: &[&str]) {
    let error = result.err().expect("accepted").to_string();
    for word in says {
        assert!(error.contains(word), "`{word}` is missing in: {error}");
    }
}

fn odd(base: &str, tip: &str, joints: &[&str]) -> Result<Chain, KinematicsError> {
    Chain::from_urdf(ODD, base, tip, joints)
}

#[test]
fn links_that_make_no_chain() {
    refused(
        odd("nowhere", "tool", &JOINTS),
        &["`nowhere`", "`pedestal`"],
    );
    refused(odd("pedestal", "nowhere", &JOINTS), &["`nowhere`"]);
    refused(
        odd("tool", "pedestal", &JOINTS),
        &["`pedestal`", "below `tool`", "below `world`"],
    );
    refused(
        odd("camera", "tool", &JOINTS),
        &["`tool`", "below `camera`"],
    );
    refused(odd("world", "pedestal", &JOINTS), &["`a`", "elsewhere"]);
    refused(odd("tool", "tool", &["a"]), &["`a`", "elsewhere"]);
}

#[test]
fn joints_that_are_not_those_of_the_chain() {
    refused(odd("pedestal", "tool", &JOINTS[..5]), &["`f`", "`a`, `b`"]);
    let with = |last: &'static str| {
        let mut joints = JOINTS.to_vec();
        joints.push(last);
        odd("pedestal", "tool", &joints)
    };
    refused(with("g"), &["`g`", "no joint of this robot"]);
    refused(with("grip"), &["`grip`", "elsewhere"]);
    refused(with("mount"), &["`mount`", "a fixed joint"]);
    refused(with("a"), &["`a`", "twice"]);
    refused(odd("pedestal", "tool", &[]), &["joints", "1 to 16"]);
    refused(odd("pedestal", "tool", &["a"; MAX_JOINTS + 1]), &["17"]);
}

#[test]
fn joints_of_a_kind_or_with_numbers_that_do_not_do() {
    let changed = |from: &str, to: &str| {
        let text = ODD.replacen(from, to, 1);
        assert_ne!(text, ODD, "{from}");
        Chain::from_urdf(&text, "pedestal", "tool", &JOINTS)
    };
    for kind in ["floating", "planar"] {
        let to = format!("name=\"d\" type=\"{kind}\"");
        refused(changed("name=\"d\" type=\"revolute\"", &to), &["`d`", kind]);
    }
    let mimic = "<mimic joint=\"a\"/><parent link=\"three\"/><child link=\"four\"/>";
    refused(
        changed("<parent link=\"three\"/><child link=\"four\"/>", mimic),
        &["`d`", "mimics `a`"],
    );
    refused(
        changed("1 2 -0.5", "0 0 0"),
        &["`b`, axis", "[0.0, 0.0, 0.0]"],
    );
    refused(changed("1 2 -0.5", "1 NaN 0"), &["`b`, axis"]);
    refused(
        changed("0.05 0.03 0.2", "0.05 inf 0.2"),
        &["`mount`, origin", "inf"],
    );
    refused(
        changed("upper=\"2.3\"", "upper=\"-1.9\""),
        &["`b`, limit", "lower < upper"],
    );
    let bare = "<limit lower=\"-1.9\" upper=\"2.3\" velocity=\"1\" effort=\"1\"/>";
    refused(changed(bare, ""), &["`b`, limit", "0 .. 0"]);
}

#[test]
fn covers_that_cannot_be_made() {
    let chain = || odd("pedestal", "tool", &JOINTS).unwrap();
    refused(
        SelfCollision::from_urdf(ODD, chain(), &[]),
        &["`finger`", "`grip`"],
    );
    refused(
        SelfCollision::from_urdf(ODD, chain(), &["fingers"]),
        &["`fingers`"],
    );
    let mesh = ODD.replacen(
        "<sphere radius=\"0.05\"/>",
        "<mesh filename=\"four.stl\"/>",
        1,
    );
    refused(
        SelfCollision::from_urdf(&mesh, chain(), &["finger"]),
        &["`four`", "four.stl"],
    );
    let without = SelfCollision::from_urdf(&mesh, chain(), &["finger", "four"]).unwrap();
    assert!(!without.links().iter().any(|l| l == "four"));
}

#[test]
fn searches_that_cannot_be_made() {
    let with = |change: fn(&mut InverseSpec)| {
        let mut spec = InverseSpec::default();
        change(&mut spec);
        let chain = odd("pedestal", "tool", &JOINTS).unwrap();
        Inverse::new(chain.clone(), chain.limits(), spec)
    };
    assert!(with(|_| ()).is_ok());
    refused(with(|s| s.max_iterations = 0), &["max_iterations"]);
    refused(with(|s| s.damping = 0.0), &["damping"]);
    refused(with(|s| s.length_m = f64::NAN), &["length_m", "NaN"]);
    refused(with(|s| s.condition_stop = 17.0), &["condition_slow"]);
    let chain = odd("pedestal", "tool", &JOINTS).unwrap();
    let spec = InverseSpec::default();
    refused(
        Inverse::new(chain.clone(), &[[0.0, 1.0]; 5], spec),
        &["one per joint", "5"],
    );
    refused(
        Inverse::new(chain, &[[0.0, f64::NAN]; 6], spec),
        &["lower < upper", "NaN"],
    );
}

/// Which pairs are left out, and why, of an arm on which every reason occurs.
#[test]
fn pairs_that_are_left_out_are_listed() {
    let chain = odd("pedestal", "tool", &JOINTS).unwrap();
    let collision = SelfCollision::from_urdf(ODD, chain, &["finger"]).unwrap();
    let links = collision.links();
    // Body by body: the base; one and bracket; two; three and camera; four; (five has no shape); tool, after the flange.
    let expected = [
        "pedestal", "one", "bracket", "two", "three", "four", "tool", "camera",
    ];
    assert_eq!(links, expected);
    let because = |one: &str, other: &str| {
        let place = |name| links.iter().position(|l| l == name).unwrap();
        let pair = (place(one), place(other));
        let found = collision.left_out().iter().find(|l| l.links == pair);
        assert_eq!(found.is_none(), collision.compared().contains(&pair));
        found.map(|l| l.because)
    };
    assert_eq!(because("one", "bracket"), Some(LeftOutBecause::OneBody));
    assert_eq!(because("three", "camera"), Some(LeftOutBecause::OneBody));
    assert_eq!(
        because("pedestal", "bracket"),
        Some(LeftOutBecause::Adjacent)
    );
    assert_eq!(because("four", "camera"), Some(LeftOutBecause::Adjacent));
    assert_eq!(because("four", "tool"), None);
    assert_eq!(because("pedestal", "tool"), None);
    let pairs = collision.compared().len() + collision.left_out().len();
    assert_eq!(pairs, links.len() * (links.len() - 1) / 2);
}

#[test]
fn covers_that_always_touch_are_left_out() {
    // Bodies 0 and 2 of a wrist whose middle is buried between them.
    let joint = |name: &str, parent: &str, child: &str, axis: &str| {
        format!(
            "<joint name='{name}' type='continuous'><parent link='{parent}'/><child link='{child}'/><axis xyz='{axis}'/></joint>"
        )
    };
    let ball = "<collision><geometry><sphere radius='0.05'/></geometry></collision>";
    let text = format!(
        "<robot name='wrist'><link name='a'>{ball}</link><link name='b'/><link name='c'>{ball}</link>{}{}</robot>",
        joint("one", "a", "b", "1 0 0"),
        joint("two", "b", "c", "0 1 0")
    );
    let chain = Chain::from_urdf(&text, "a", "c", &["one", "two"]).unwrap();
    let collision = SelfCollision::from_urdf(&text, chain, &[]).unwrap();
    assert!(collision.compared().is_empty());
    assert_eq!(collision.left_out()[0].because, LeftOutBecause::AlwaysTouch);
    let q = JointVec::zeros(2);
    assert_eq!(collision.nearest(&q).distance_m, f64::INFINITY);
}

/// Joints that are not numbers say nothing about what is free.
#[test]
fn a_lost_arm_is_never_free() {
    let chain = odd("pedestal", "tool", &JOINTS).unwrap();
    let collision = SelfCollision::from_urdf(ODD, chain, &["finger"]).unwrap();
    let mut q = JointVec::zeros(6);
    q[3] = f64::NAN;
    assert_eq!(collision.nearest(&q).distance_m, f64::NEG_INFINITY);
}

/// Descriptions come from the network: what is as large as they may be must not take the process down.
#[test]
fn a_hostile_description_is_an_error_and_no_crash() {
    let size = tactus_types::MAX_URDF_BYTES;
    let deep = "<a>".repeat(size / 3);
    let deep_links = format!("<robot name='r'>{}", "<link name='l'>".repeat(size / 16));
    let entities = format!(
        "<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'>{}]><robot name='&z;'/>",
        (b'b'..=b'z')
            .map(|c| {
                let (c, before) = (char::from(c), char::from(c - 1));
                format!("<!ENTITY {c} '{}'>", format!("&{before};").repeat(10))
            })
            .collect::<String>()
    );
    // What looks like the end of an element and is none, or like none and is an element.
    let hidden = |before: &str, each: &str, end: &str| {
        let n = size / (each.len() + end.len());
        let (each, end) = (each.repeat(n), end.repeat(n));
        format!("<robot name='r'>{before}{each}{end}</robot>")
    };
    let in_value = hidden("", "<a b=\"/>\">", "</a>");
    let in_comment = hidden("", "<a><!--/>-->", "</a>");
    let in_data = hidden("", "<a><![CDATA[/>]]>", "</a>");
    let in_instruction = hidden("<?x ? >", "<a>", "</a>");
    let in_name = hidden("<b\">", "<a>", "</a>");
    let texts = [deep, deep_links, entities, in_value, in_comment];
    for text in texts.into_iter().chain([in_instruction, in_name, in_data]) {
        // Before the parser, which takes many seconds for any of them, or all of the stack.
        let from = std::time::Instant::now();
        assert!(Chain::from_urdf(&text, "base", "tip", &["a"]).is_err());
        assert!(from.elapsed().as_secs() < 2, "{}", &text[..40]);
    }
    // Where none is hidden, comments and values may hold anything.
    let odd = ODD.replacen(
        "<robot",
        &format!("<?xml version='1.0'?><!-- {} --><robot", "<a>".repeat(100)),
        1,
    );
    let odd = odd.replacen("name=\"a\"", "name = 'a' note='</a>/>'", 1);
    Chain::from_urdf(&odd, "pedestal", "tool", &JOINTS).unwrap();
    let ball = "<collision><geometry><sphere radius='0.1'/></geometry></collision>";
    let text = format!(
        "<robot name='r'><link name='a'>{}</link><link name='b'/><joint name='j' type='continuous'>\
        <parent link='a'/><child link='b'/><axis xyz='1 0 0'/></joint></robot>",
        ball.repeat(65)
    );
    let chain = Chain::from_urdf(&text, "a", "b", &["j"]).unwrap();
    refused(SelfCollision::from_urdf(&text, chain, &[]), &["64"]);
}
