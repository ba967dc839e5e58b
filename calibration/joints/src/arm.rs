//! An arm of six joints, for tests.

use tactus_kinematics::Chain;

const URDF: &str = r#"<robot name="arm">
  <link name="base"/><link name="a"/><link name="b"/><link name="c"/><link name="d"/><link name="e"/><link name="tip"/>
  <joint name="j1" type="revolute"><parent link="base"/><child link="a"/><origin xyz="0 0 0.1"/><axis xyz="0 0 1"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="j2" type="revolute"><parent link="a"/><child link="b"/><origin xyz="0 0 0.1"/><axis xyz="0 1 0"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="j3" type="revolute"><parent link="b"/><child link="c"/><origin xyz="0 0 0.3"/><axis xyz="0 1 0"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="j4" type="revolute"><parent link="c"/><child link="d"/><origin xyz="0 0 0.2"/><axis xyz="0 0 1"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="j5" type="revolute"><parent link="d"/><child link="e"/><origin xyz="0 0 0.1"/><axis xyz="0 1 0"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="j6" type="revolute"><parent link="e"/><child link="tip"/><origin xyz="0 0 0.1"/><axis xyz="0 0 1"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
</robot>"#;
const JOINTS: [&str; 6] = ["j1", "j2", "j3", "j4", "j5", "j6"];

/// The arm.
pub fn chain() -> Chain {
    Chain::from_urdf(URDF, "base", "tip", &JOINTS).expect("a chain")
}

/// The same with a third joint that slides.
pub fn sliding() -> Chain {
    let text = URDF.replacen("\"j3\" type=\"revolute\"", "\"j3\" type=\"prismatic\"", 1);
    Chain::from_urdf(&text, "base", "tip", &JOINTS).expect("a chain")
}
