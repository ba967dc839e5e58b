//! What is read of a URDF: the tree of links and joints, every number checked. Decides what a description must be before
//! anything is computed from it; does not decide which joints make a chain.
//!
//! The `urdf-rs` crate parses; what it lets pass and would mislead is refused here: trees with two parents, orientations
//! as quaternions (it reads them by way of rounded Euler angles), numbers that are not finite, axes of length zero.
//!
//! Convention, source: <https://wiki.ros.org/urdf/XML/joint>. A joint's frame is its child link's frame; `origin` is that
//! frame in the parent link's frame at position zero; `rpy` are rotations about the fixed axes x, y, z in this order.

use std::collections::HashMap;

use nalgebra::{Isometry3, Translation3, UnitQuaternion, Vector3};
use urdf_rs::{Joint, Link, Robot};

use crate::error::KinematicsError;

/// A robot's links and joints, as a tree.
#[derive(Debug)]
pub(crate) struct Tree {
    robot: Robot,
    /// For each link its place in `robot.links`, and the joint above it in `robot.joints`.
    links: HashMap<String, (usize, Option<usize>)>,
}

impl Tree {
    /// Reads `text` and checks that it is a tree.
    pub(crate) fn from_urdf(text: &str) -> Result<Self, KinematicsError> {
        if text.contains("quat_xyzw") {
            return Err(element(
                "attribute `quat_xyzw`",
                "orientations as `rpy`",
                "a quaternion",
            ));
        }
        if nesting(text)? > MAX_NESTING {
            let actual = "more".to_string();
            return Err(element(
                "the description",
                "at most 64 nested elements",
                actual,
            ));
        }
        let robot = urdf_rs::read_from_string(text).map_err(|e| KinematicsError::Unreadable {
            reason: e.to_string(),
        })?;
        let mut links = HashMap::new();
        for (i, link) in robot.links.iter().enumerate() {
            if links.insert(link.name.clone(), (i, None)).is_some() {
                let what = format!("link `{}`", link.name);
                return Err(element(what, "one link of this name", "two"));
            }
        }
        for (j, joint) in robot.joints.iter().enumerate() {
            let what = || format!("joint `{}`", joint.name);
            if robot.joints[..j].iter().any(|o| o.name == joint.name) {
                return Err(element(what(), "one joint of this name", "two"));
            }
            for link in [&joint.parent.link, &joint.child.link] {
                if !links.contains_key(link) {
                    let actual = format!("`{link}`");
                    return Err(element(what(), "links of this robot", actual));
                }
            }
            if let Some((_, above)) = links.get_mut(&joint.child.link)
                && let Some(other) = above.replace(j)
            {
                let actual = format!("also joint `{}`", robot.joints[other].name);
                return Err(element(what(), "the only joint above its link", actual));
            }
        }
        let tree = Self { robot, links };
        for link in &tree.robot.links {
            if tree.above(&link.name).count() > tree.robot.joints.len() {
                let what = format!("link `{}`", link.name);
                return Err(element(what, "a tree", "a loop of joints"));
            }
        }
        Ok(tree)
    }

    /// All links in the order of the description.
    pub(crate) fn links(&self) -> &[Link] {
        &self.robot.links
    }

    /// The joint called `name`.
    pub(crate) fn joint(&self, name: &str) -> Option<&Joint> {
        self.robot.joints.iter().find(|j| j.name == name)
    }

    /// Refuses a link that does not exist.
    pub(crate) fn check_link(&self, name: &str) -> Result<(), KinematicsError> {
        if self.links.contains_key(name) {
            return Ok(());
        }
        Err(KinematicsError::UnknownLink {
            link: name.into(),
            known: names(self.robot.links.iter().map(|l| l.name.as_str())),
        })
    }

    /// The joints above `link`, from the nearest upwards; one more than there are joints if they form a loop.
    pub(crate) fn above<'a>(&'a self, link: &'a str) -> impl Iterator<Item = &'a Joint> {
        let next = |link: &str| {
            let (_, joint) = self.links.get(link)?;
            self.robot.joints.get((*joint)?)
        };
        std::iter::successors(next(link), move |joint| next(&joint.parent.link))
            .take(self.robot.joints.len() + 1)
    }
}

/// Deepest nesting of elements; a URDF has 5. The parser takes time with its square, and calls itself for each: seconds for
/// 256 KiB of it, or the end of the stack.
const MAX_NESTING: usize = 64;
/// What the parser takes for space.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// How deep elements are nested. What could hide some from this that the parser would find is refused: declarations, CDATA,
/// tags that are not written as they should be.
fn nesting(text: &str) -> Result<usize, KinematicsError> {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = text;
    while let Some((_, markup)) = rest.split_once('<') {
        let refused = |expected: &str| {
            let line = text.len().checked_sub(markup.len());
            let line = line.and_then(|at| text.get(..at));
            let line = line.map_or(0, |before| before.matches('\n').count() + 1);
            KinematicsError::Unreadable {
                reason: format!("line {line}: expected {expected}"),
            }
        };
        rest = if let Some(comment) = markup.strip_prefix("!--") {
            comment.split_once("-->").map_or("", |(_, after)| after)
        } else if let Some(instruction) = markup.strip_prefix('?') {
            // The parser takes the first `>` after any `?` for its end.
            let end = instruction.split_once('?');
            let end = end.and_then(|(_, end)| end.split_once('>'));
            end.map_or("", |(_, after)| after)
        } else if let Some(tag) = markup.strip_prefix('/') {
            depth = depth.saturating_sub(1);
            tag.split_once('>').map_or("", |(_, after)| after)
        } else if markup.starts_with('!') {
            return Err(refused("elements and comments only, got `<!`"));
        } else {
            let (ends, after) = start_tag(markup)
                .ok_or_else(|| refused("a tag like <name attribute=\"value\">, got another"))?;
            deepest = deepest.max(depth + 1);
            depth += usize::from(!ends);
            after
        };
    }
    Ok(deepest)
}

/// Whether the start tag that `markup` goes on with, behind its `<`, is that of an empty element, and what comes after it.
fn start_tag(markup: &str) -> Option<(bool, &str)> {
    let odd = |name: &str| name.is_empty() || name.contains(['<', '>', '/', '"', '\'']);
    let (name, mut rest) =
        markup.split_at(markup.find(|c| SPACE.contains(&c) || matches!(c, '/' | '>'))?);
    if odd(name) {
        return None;
    }
    loop {
        rest = rest.trim_start_matches(SPACE);
        if let Some(after) = rest.strip_prefix('>') {
            return Some((false, after));
        }
        if let Some(after) = rest.strip_prefix("/>") {
            return Some((true, after));
        }
        let (name, value) = rest.split_once('=')?;
        let value = value.trim_start_matches(SPACE);
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        if odd(name) {
            return None;
        }
        (_, rest) = value.strip_prefix(quote)?.split_once(quote)?;
    }
}

/// An `origin` as a pose, `X_PC`: the child's frame in the parent's.
pub(crate) fn pose(
    origin: &urdf_rs::Pose,
    element_name: impl FnOnce() -> String,
) -> Result<Isometry3<f64>, KinematicsError> {
    let ([x, y, z], [roll, pitch, yaw]) = (origin.xyz.0, origin.rpy.0);
    if ![x, y, z, roll, pitch, yaw].iter().all(|v| v.is_finite()) {
        let actual = format!("xyz {:?} rpy {:?}", origin.xyz.0, origin.rpy.0);
        return Err(element(
            format!("{}, origin", element_name()),
            "finite numbers",
            actual,
        ));
    }
    Ok(Isometry3::from_parts(
        Translation3::new(x, y, z),
        UnitQuaternion::from_euler_angles(roll, pitch, yaw),
    ))
}

/// A joint's axis, of length one, in the joint's frame.
pub(crate) fn axis(joint: &Joint) -> Result<nalgebra::Unit<Vector3<f64>>, KinematicsError> {
    let xyz = Vector3::from(joint.axis.xyz.0);
    // Written by hand with few digits; anything shorter is a mistake, not an axis.
    const SHORTEST: f64 = 1e-3;
    nalgebra::Unit::try_new(xyz, SHORTEST)
        .filter(|axis| axis.iter().all(|v| v.is_finite()))
        .ok_or_else(|| {
            element(
                format!("joint `{}`, axis", joint.name),
                "a finite vector that is not zero",
                format!("{:?}", joint.axis.xyz.0),
            )
        })
}

/// An error about one element of the description.
pub(crate) fn element(
    element: impl Into<String>,
    expected: &'static str,
    actual: impl Into<String>,
) -> KinematicsError {
    KinematicsError::Element {
        element: element.into(),
        expected,
        actual: actual.into(),
    }
}

/// Names for an error's text.
pub(crate) fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if quoted.is_empty() {
        return "none".into();
    }
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        let text = format!("<robot name='r'>{body}</robot>");
        match Tree::from_urdf(&text) {
            Ok(tree) => panic!("accepted: {tree:?}"),
            Err(error) => error.to_string(),
        }
    }

    fn fixed(name: &str, parent: &str, child: &str) -> String {
        format!(
            "<joint name='{name}' type='fixed'><parent link='{parent}'/><child link='{child}'/></joint>"
        )
    }

    #[test]
    fn what_is_no_tree_is_refused_by_name() {
        let links = "<link name='a'/><link name='b'/><link name='c'/>";
        let cases = [
            (format!("{links}<link name='a'/>"), "link `a`"),
            (format!("{links}{}", fixed("j", "a", "x")), "`x`"),
            (
                format!("{links}{}{}", fixed("j", "a", "c"), fixed("k", "b", "c")),
                "joint `k`",
            ),
            (
                format!("{links}{}{}", fixed("j", "a", "b"), fixed("j", "b", "c")),
                "joint `j`",
            ),
            (
                format!("{links}{}{}", fixed("j", "a", "b"), fixed("k", "b", "a")),
                "a loop",
            ),
        ];
        for (body, says) in cases {
            let error = refusal(&body);
            assert!(error.contains(says), "`{says}` is missing in: {error}");
        }
    }

    #[test]
    fn orientations_that_the_parser_would_round_are_refused() {
        let body = "<link name='a'/><link name='b'/><joint name='j' type='fixed'><parent link='a'/><child link='b'/>\
                    <origin quat_xyzw='0 0.70710678 0 0.70710678'/></joint>";
        assert!(refusal(body).contains("quat_xyzw"));
    }

    #[test]
    fn what_is_no_xml_is_refused() {
        for text in ["", "<robot", "not xml", "<robot><link/></robot>"] {
            assert!(
                matches!(
                    Tree::from_urdf(text),
                    Err(KinematicsError::Unreadable { .. })
                ),
                "{text:?}"
            );
        }
    }
}
