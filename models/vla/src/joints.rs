//! The bundle's joints found in the arm's, by name. A swapped joint gives no error later, only a worse robot.

use crate::error::VlaError;

/// Index in `arm` of every joint that `field` of the manifest lists, in the manifest's order.
///
/// # Errors
/// [`VlaError::Joints`] naming the first joint that the arm does not have.
pub fn find(
    field: &'static str,
    listed: &[String],
    arm: &[String],
) -> Result<Vec<usize>, VlaError> {
    let index = |name: &String| {
        arm.iter()
            .position(|joint| joint == name)
            .ok_or_else(|| VlaError::Joints {
                field,
                expected: format!("joints of the arm ({})", arm.join(", ")),
                actual: format!("`{name}`, which the arm does not have"),
            })
    };
    listed.iter().map(index).collect()
}

/// As [`find`], and every joint of the arm is listed: an action has to say what each of them does.
///
/// # Errors
/// [`VlaError::Joints`] naming the first joint that one side does not have.
pub fn find_all(
    field: &'static str,
    listed: &[String],
    arm: &[String],
) -> Result<Vec<usize>, VlaError> {
    let found = find(field, listed, arm)?;
    match arm.iter().find(|joint| !listed.contains(joint)) {
        None => Ok(found),
        Some(joint) => Err(VlaError::Joints {
            field,
            expected: format!("every joint of the arm, with `{joint}`"),
            actual: listed.join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn order_is_by_name() {
        let found = find_all("action.joints", &names("c a b"), &names("a b c"));
        assert_eq!(found.ok(), Some(vec![2, 0, 1]));
    }

    #[test]
    fn a_joint_missing_on_either_side_is_named() {
        let error = find("state.joints", &names("a yaw"), &names("a b")).expect_err("no yaw");
        assert_eq!(
            error.to_string(),
            "bundle.toml: field `state.joints`: expected joints of the arm (a, b), \
             got `yaw`, which the arm does not have"
        );
        assert_eq!(
            find("state.joints", &names("b"), &names("a b")).ok(),
            Some(vec![1])
        );
        let error = find_all("action.joints", &names("b"), &names("a b")).expect_err("no a");
        assert_eq!(
            error.to_string(),
            "bundle.toml: field `action.joints`: expected every joint of the arm, with `a`, got b"
        );
    }
}
