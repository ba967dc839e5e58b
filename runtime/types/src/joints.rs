//! Joint vectors of fixed capacity: values that are copied, never allocated, on the control path.

use std::ops::{Index, IndexMut};

/// Most joints an arm may have (two seven-joint arms and two spares).
pub const MAX_JOINTS: usize = 16;

/// One number per joint, in the arm's joint order. Unit by context: rad, rad/s or rad/s^2.
#[derive(Clone, Copy, PartialEq)]
pub struct JointVec {
    len: u8,
    values: [f64; MAX_JOINTS],
}

impl JointVec {
    /// `len` zeros. Lengths above [`MAX_JOINTS`] are cut.
    pub fn zeros(len: usize) -> Self {
        Self {
            len: len.min(MAX_JOINTS) as u8,
            values: [0.0; MAX_JOINTS],
        }
    }

    /// The values of `slice`, or `None` when there are more than [`MAX_JOINTS`].
    pub fn from_slice(slice: &[f64]) -> Option<Self> {
        if slice.len() > MAX_JOINTS {
            return None;
        }
        let mut out = Self::zeros(slice.len());
        out.values[..slice.len()].copy_from_slice(slice);
        Some(out)
    }

    /// Joint by joint, `f(index)`.
    pub fn from_fn(len: usize, f: impl FnMut(usize) -> f64) -> Self {
        let mut out = Self::zeros(len);
        for (value, x) in out.values.iter_mut().zip((0..out.len as usize).map(f)) {
            *value = x;
        }
        out
    }

    /// Joint by joint, `f(self[i], other[i])`; as long as the shorter of the two.
    pub fn zip(&self, other: &Self, mut f: impl FnMut(f64, f64) -> f64) -> Self {
        Self::from_fn(self.len().min(other.len()), |i| {
            f(self.values[i], other.values[i])
        })
    }

    /// Number of joints.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no joint.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The values.
    pub fn as_slice(&self) -> &[f64] {
        &self.values[..self.len()]
    }

    /// Iterates over the values.
    pub fn iter(&self) -> std::slice::Iter<'_, f64> {
        self.as_slice().iter()
    }

    /// Whether every value is a finite number.
    pub fn is_finite(&self) -> bool {
        self.iter().all(|v| v.is_finite())
    }

    /// Largest absolute value; 0 for an empty vector.
    pub fn max_abs(&self) -> f64 {
        self.iter().fold(0.0, |m, v| m.max(v.abs()))
    }

    /// `self + t * (to - self)`, joint by joint.
    pub fn lerp(&self, to: &Self, t: f64) -> Self {
        self.zip(to, |a, b| a + t * (b - a))
    }
}

impl Index<usize> for JointVec {
    type Output = f64;
    fn index(&self, i: usize) -> &f64 {
        &self.as_slice()[i]
    }
}

impl IndexMut<usize> for JointVec {
    fn index_mut(&mut self, i: usize) -> &mut f64 {
        let len = self.len();
        &mut self.values[..len][i]
    }
}

impl std::fmt::Debug for JointVec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_joints_than_the_capacity_are_refused() {
        assert!(JointVec::from_slice(&[0.0; MAX_JOINTS + 1]).is_none());
        assert_eq!(JointVec::from_slice(&[1.0, 2.0]).map(|v| v.len()), Some(2));
    }

    #[test]
    fn lerp_meets_both_ends() {
        let a = JointVec::from_fn(3, |i| i as f64);
        let b = JointVec::from_fn(3, |i| 10.0 - i as f64);
        assert_eq!(a.lerp(&b, 0.0), a);
        assert_eq!(a.lerp(&b, 1.0), b);
    }
}
