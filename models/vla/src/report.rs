//! What verification found: one row per comparison, and how two tensors are compared.
//!
//! Decides when numbers count as equal enough and how the table looks. Does not decide what is compared; that is
//! [`crate::verify`].

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyRow {
    /// Golden case.
    pub case: String,
    /// What was compared.
    pub boundary: String,
    /// Largest error, in the unit of what was compared.
    pub max_abs: f64,
    /// What an error is measured against.
    pub scale: f64,
    /// Largest error over scale.
    pub max_rel_to_scale: f64,
    /// Cosine of the angle between what was made and the golden tensor; `None` where directions mean nothing.
    pub cosine: Option<f64>,
    /// Largest `max_rel_to_scale` that passes.
    pub tolerance: f64,
    /// Whether it passed. An error that is not a number does not.
    pub passed: bool,
}

/// All comparisons of a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyReport {
    /// Name of the bundle.
    pub name: String,
    /// Id of the bundle.
    pub bundle_id: String,
    /// Provider that ran the graphs.
    pub provider: &'static str,
    /// The comparisons, case by case in path order.
    pub rows: Vec<VerifyRow>,
}

impl VerifyReport {
    /// Whether every comparison passed, and there was one.
    pub fn passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.passed)
    }
}

impl std::fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            bundle_id,
            provider,
            rows,
        } = self;
        writeln!(
            f,
            "bundle    {name}\nid        {bundle_id}\nprovider  {provider}\n"
        )?;
        let longest = |text: fn(&VerifyRow) -> &str, title: &str| {
            rows.iter()
                .map(|row| text(row).len())
                .chain([title.len()])
                .max()
                .unwrap_or(0)
        };
        let case = longest(|row| &row.case, "case");
        let boundary = longest(|row| &row.boundary, "boundary");
        writeln!(
            f,
            "{:case$}  {:boundary$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>10}",
            "case", "boundary", "max error", "scale", "relative", "allowed", "cosine"
        )?;
        for row in rows {
            let VerifyRow {
                case: of,
                boundary: at,
                max_abs,
                scale,
                max_rel_to_scale,
                cosine,
                tolerance,
                passed,
            } = row;
            let cosine = cosine.map_or_else(|| "-".into(), |cosine| format!("{cosine:.8}"));
            let verdict = if *passed { "ok" } else { "FAILED" };
            writeln!(
                f,
                "{of:case$}  {at:boundary$}  {max_abs:>9.2e}  {scale:>9.2e}  {max_rel_to_scale:>9.2e}  {tolerance:>9.0e}  {cosine:>10}  {verdict}",
            )?;
        }
        let failed = rows.iter().filter(|row| !row.passed).count();
        match failed {
            0 => write!(f, "\n{} comparisons, all within tolerance", rows.len()),
            failed => write!(f, "\n{failed} of {} comparisons FAILED", rows.len()),
        }
    }
}

/// Largest difference of two slices; NaN when their lengths differ or any difference is not a number.
pub fn largest<T: Copy + Into<Comparable>>(ours: &[T], golden: &[T]) -> f64 {
    if ours.len() != golden.len() {
        return f64::NAN;
    }
    let value = |v: &T| (*v).into().0;
    ours.iter().zip(golden).fold(0.0, |most: f64, (a, b)| {
        let error = (value(a) - value(b)).abs();
        // `f64::max` would drop a NaN.
        if error.is_nan() || most.is_nan() {
            f64::NAN
        } else {
            most.max(error)
        }
    })
}

/// A value as f64; ids are far below 2^53.
pub struct Comparable(f64);

impl From<u8> for Comparable {
    fn from(value: u8) -> Self {
        Self(f64::from(value))
    }
}

impl From<f32> for Comparable {
    fn from(value: f32) -> Self {
        Self(f64::from(value))
    }
}

impl From<i64> for Comparable {
    fn from(value: i64) -> Self {
        Self(value as f64)
    }
}

/// Cosine of the angle between two vectors; `None` when one has no direction or their lengths differ.
pub fn cosine(ours: &[f32], golden: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let product = |(a, b): (&f32, &f32)| f64::from(*a) * f64::from(*b);
        a.iter().zip(b).map(product).sum()
    };
    let length = (dot(ours, ours) * dot(golden, golden)).sqrt();
    (ours.len() == golden.len() && length != 0.0).then(|| dot(ours, golden) / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_not_a_number_is_never_small() {
        assert_eq!(largest(&[1.0_f32, 2.0], &[1.5, 2.0]), 0.5);
        assert_eq!(largest(&[3_i64], &[3]), 0.0);
        assert!(largest(&[f32::NAN, 0.0], &[0.0, 5.0]).is_nan());
        assert!(largest(&[0.0_f32, f32::NAN, 0.0], &[5.0, 0.0, 0.0]).is_nan());
        assert!(largest(&[0.0_f32], &[0.0, 0.0]).is_nan());
        assert!(largest(&[f32::INFINITY], &[0.0]) > 1e300);
    }

    #[test]
    fn a_cosine_is_one_for_the_same_direction_and_absent_without_one() {
        let close = |a: &[f32], b: &[f32], expected: f64| {
            let cosine = cosine(a, b).expect("directions");
            assert!((cosine - expected).abs() < 1e-12, "{cosine}");
        };
        close(&[1.0, 2.0], &[2.0, 4.0], 1.0);
        close(&[1.0, 0.0], &[0.0, 3.0], 0.0);
        close(&[1.0, 0.0], &[-3.0, 0.0], -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]), None);
        assert!(cosine(&[f32::NAN, 1.0], &[1.0, 0.0]).is_some_and(f64::is_nan));
    }

    #[test]
    fn the_table_says_what_failed() {
        let row = |boundary: &str, passed: bool| VerifyRow {
            case: "case-0".into(),
            boundary: boundary.into(),
            max_abs: 1.5e-5,
            scale: 3.0,
            max_rel_to_scale: 5e-6,
            cosine: passed.then_some(1.0),
            tolerance: 1e-4,
            passed,
        };
        let mut report = VerifyReport {
            name: "test".into(),
            bundle_id: "0123".into(),
            provider: "cpu",
            rows: vec![row("features", true), row("x.1", false)],
        };
        assert!(!report.passed());
        let expected = "\
bundle    test
id        0123
provider  cpu

case    boundary  max error      scale   relative    allowed      cosine
case-0  features    1.50e-5     3.00e0    5.00e-6       1e-4  1.00000000  ok
case-0  x.1         1.50e-5     3.00e0    5.00e-6       1e-4           -  FAILED

1 of 2 comparisons FAILED";
        assert_eq!(report.to_string(), expected);
        report.rows.pop();
        assert!(report.passed());
        report.rows.clear();
        assert!(!report.passed(), "nothing compared is nothing verified");
    }
}
