//! The numbers in which policies write a rotation. Decides their order, sign and what is refused as degenerate; does not
//! decide which one a policy uses, nor between which frames it turns.
//!
//! Every format is of an active rotation: it takes a vector from its place before to its place after, both in the same
//! frame. Angles in rad. What a network puts out is never exactly a rotation: quaternions are normalised and six numbers
//! made orthogonal, and only what names no rotation at all is refused.

use nalgebra::{Matrix3, Quaternion, Rotation3, UnitQuaternion, Vector3};

/// How a rotation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RotationFormat {
    /// Quaternion x, y, z, w: scipy, ROS.
    QuaternionXyzw,
    /// Quaternion w, x, y, z: MuJoCo, PyTorch3D.
    QuaternionWxyz,
    /// Axis times angle, also called axis-angle; written with an angle of 0..=pi, read with any.
    RotationVector,
    /// The first two columns of the rotation matrix, one after the other: a1x, a1y, a1z, a2x, a2y, a2z. Source: Zhou et
    /// al., *On the Continuity of Rotation Representations in Neural Networks*, 2019, eq. 15.
    SixColumns,
    /// The first two rows of the rotation matrix, one after the other: what PyTorch3D's `matrix_to_rotation_6d` and the
    /// policies built on it call the representation of Zhou et al. It is that of the inverse rotation.
    SixRows,
    /// Three angles about the body's x, then y, then z axes: scipy's `XYZ`. `R = Rx(a) Ry(b) Rz(c)`.
    EulerXyzIntrinsic,
    /// Three angles about the fixed x, then y, then z axes, that is roll, pitch, yaw: scipy's `xyz`, URDF's `rpy`.
    /// `R = Rz(c) Ry(b) Rx(a)`.
    EulerXyzExtrinsic,
}

/// Why numbers are not a rotation.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum RotationError {
    /// Not as many numbers as the format has.
    #[error("rotation as {format:?}: expected {expected} numbers, got {actual}")]
    Length {
        /// The format.
        format: RotationFormat,
        /// Its numbers.
        expected: usize,
        /// Those given.
        actual: usize,
    },
    /// NaN or infinite.
    #[error("rotation as {format:?}: expected finite numbers, got {actual} at place {place}")]
    NotFinite {
        /// The format.
        format: RotationFormat,
        /// Place of the first such number.
        place: usize,
        /// That number.
        actual: f64,
    },
    /// A quaternion or a vector of no length has no direction.
    #[error("rotation as {format:?}: expected a length above {expected:e}, got {actual:e}")]
    TooShort {
        /// The format.
        format: RotationFormat,
        /// Least length.
        expected: f64,
        /// That of the quaternion or of the first vector.
        actual: f64,
    },
    /// An angle so large that rounding hides where it points.
    #[error("rotation as {format:?}: expected numbers up to {expected:e} rad, got {actual:e}")]
    TooLong {
        /// The format.
        format: RotationFormat,
        /// Largest number.
        expected: f64,
        /// That given.
        actual: f64,
    },
    /// Two vectors of the six numbers along one line span no plane.
    #[error(
        "rotation as {format:?}: expected two vectors whose angle has a sine above {expected:e}, got {actual:e}"
    )]
    Parallel {
        /// The format.
        format: RotationFormat,
        /// Least sine of the angle between them.
        expected: f64,
        /// Sine of the angle between them.
        actual: f64,
    },
}

/// Shortest quaternion or vector that has a direction.
const SHORTEST: f64 = 1e-6;
/// Largest number of a rotation vector, rad.
const LONGEST: f64 = 1e6;
/// Least sine of the angle between two vectors that span a plane: errors of single precision stay below 0.1 mrad.
const LEAST_SINE: f64 = 1e-3;

impl RotationFormat {
    /// All formats.
    pub const ALL: [Self; 7] = [
        Self::QuaternionXyzw,
        Self::QuaternionWxyz,
        Self::RotationVector,
        Self::SixColumns,
        Self::SixRows,
        Self::EulerXyzIntrinsic,
        Self::EulerXyzExtrinsic,
    ];

    /// How many numbers it has: 3, 4 or 6.
    pub fn count(self) -> usize {
        match self {
            Self::RotationVector | Self::EulerXyzIntrinsic | Self::EulerXyzExtrinsic => 3,
            Self::QuaternionXyzw | Self::QuaternionWxyz => 4,
            Self::SixColumns | Self::SixRows => 6,
        }
    }

    /// The rotation that `numbers` mean.
    ///
    /// # Errors
    /// [`RotationError`] when they are too many, too few, not finite or mean no rotation.
    pub fn read(self, numbers: &[f64]) -> Result<UnitQuaternion<f64>, RotationError> {
        if numbers.len() != self.count() {
            return Err(RotationError::Length {
                format: self,
                expected: self.count(),
                actual: numbers.len(),
            });
        }
        if let Some(place) = numbers.iter().position(|v| !v.is_finite()) {
            return Err(RotationError::NotFinite {
                format: self,
                place,
                actual: numbers[place],
            });
        }
        let vector =
            |from: usize| Vector3::new(numbers[from], numbers[from + 1], numbers[from + 2]);
        match self {
            Self::QuaternionXyzw => self.quaternion(Quaternion::from_parts(numbers[3], vector(0))),
            Self::QuaternionWxyz => self.quaternion(Quaternion::from_parts(numbers[0], vector(1))),
            Self::RotationVector => {
                let actual = vector(0).amax();
                if actual > LONGEST {
                    return Err(RotationError::TooLong {
                        format: self,
                        expected: LONGEST,
                        actual,
                    });
                }
                Ok(UnitQuaternion::from_scaled_axis(vector(0)))
            }
            Self::SixColumns => self.orthogonal(vector(0), vector(3)),
            Self::SixRows => Ok(self.orthogonal(vector(0), vector(3))?.inverse()),
            Self::EulerXyzIntrinsic => {
                let (x, y, z) = about_axes(vector(0));
                Ok(x * y * z)
            }
            Self::EulerXyzExtrinsic => {
                let (x, y, z) = about_axes(vector(0));
                Ok(z * y * x)
            }
        }
    }

    /// Writes `rotation` into `numbers`. Quaternions are written with w >= 0; at the poles of Euler angles (b = +-pi/2),
    /// where a and c turn about one axis, c is 0, as scipy has it.
    ///
    /// # Errors
    /// [`RotationError::Length`] when `numbers` is not as long as [`RotationFormat::count`].
    pub fn write(
        self,
        rotation: &UnitQuaternion<f64>,
        numbers: &mut [f64],
    ) -> Result<(), RotationError> {
        let (expected, actual) = (self.count(), numbers.len());
        if actual != expected {
            return Err(RotationError::Length {
                format: self,
                expected,
                actual,
            });
        }
        let sign = if rotation.w < 0.0 { -1.0 } else { 1.0 };
        let [x, y, z, w] = [rotation.i, rotation.j, rotation.k, rotation.w].map(|v| sign * v);
        let matrix = || rotation.to_rotation_matrix().into_inner();
        match self {
            Self::QuaternionXyzw => numbers.copy_from_slice(&[x, y, z, w]),
            Self::QuaternionWxyz => numbers.copy_from_slice(&[w, x, y, z]),
            Self::RotationVector => {
                numbers.copy_from_slice(rotation.scaled_axis().as_slice());
            }
            Self::SixColumns => numbers.copy_from_slice(&matrix().as_slice()[..6]),
            Self::SixRows => numbers.copy_from_slice(&matrix().transpose().as_slice()[..6]),
            Self::EulerXyzExtrinsic => numbers.copy_from_slice(&roll_pitch_yaw(&matrix())),
            Self::EulerXyzIntrinsic => numbers.copy_from_slice(&intrinsic(&matrix())),
        }
        Ok(())
    }

    fn quaternion(self, q: Quaternion<f64>) -> Result<UnitQuaternion<f64>, RotationError> {
        // Scaled first: the square of a large number overflows.
        let (largest, actual) = (q.coords.amax(), q.norm());
        if largest < SHORTEST {
            return Err(RotationError::TooShort {
                format: self,
                expected: SHORTEST,
                actual,
            });
        }
        Ok(UnitQuaternion::from_quaternion(q / largest))
    }

    /// Gram-Schmidt: b1 along a1, b2 in their plane, b3 = b1 x b2.
    fn orthogonal(
        self,
        a1: Vector3<f64>,
        a2: Vector3<f64>,
    ) -> Result<UnitQuaternion<f64>, RotationError> {
        let direction = |a: Vector3<f64>| {
            let largest = a.amax();
            if largest < SHORTEST {
                return Err(RotationError::TooShort {
                    format: self,
                    expected: SHORTEST,
                    actual: a.norm(),
                });
            }
            Ok((a / largest).normalize())
        };
        let (b1, d2) = (direction(a1)?, direction(a2)?);
        let across = d2 - b1 * b1.dot(&d2);
        let sine = across.norm();
        if sine < LEAST_SINE {
            return Err(RotationError::Parallel {
                format: self,
                expected: LEAST_SINE,
                actual: sine,
            });
        }
        let b2 = across / sine;
        let matrix = Matrix3::from_columns(&[b1, b2, b1.cross(&b2)]);
        Ok(UnitQuaternion::from_rotation_matrix(
            &Rotation3::from_matrix_unchecked(matrix),
        ))
    }
}

fn about_axes(
    angles: Vector3<f64>,
) -> (
    UnitQuaternion<f64>,
    UnitQuaternion<f64>,
    UnitQuaternion<f64>,
) {
    let about = |axis, angle| UnitQuaternion::from_axis_angle(&axis, angle);
    (
        about(Vector3::x_axis(), angles.x),
        about(Vector3::y_axis(), angles.y),
        about(Vector3::z_axis(), angles.z),
    )
}

/// Cosine of b below which c is taken as 0: what is lost by that is as little.
const POLE: f64 = 1e-12;

/// a, b, c of `R = Rz(c) Ry(b) Rx(a)`. The last angle found, a, is of the matrix with the others taken off, so that near
/// the poles an error of c is made good by a. Source: Herter and Lott, *Algorithms for Decomposing 3-D Orthogonal
/// Matrices Into Primitive Rotations*, 1993.
fn roll_pitch_yaw(r: &Matrix3<f64>) -> [f64; 3] {
    let cosine = r[(0, 0)].hypot(r[(1, 0)]);
    let c = if cosine > POLE {
        r[(1, 0)].atan2(r[(0, 0)])
    } else {
        0.0
    };
    let b = (-r[(2, 0)]).atan2(cosine);
    let (sin, cos) = c.sin_cos();
    let a = (sin * r[(0, 2)] - cos * r[(1, 2)]).atan2(cos * r[(1, 1)] - sin * r[(0, 1)]);
    [a, b, c]
}

/// a, b, c of `R = Rx(a) Ry(b) Rz(c)`, in the same manner.
fn intrinsic(r: &Matrix3<f64>) -> [f64; 3] {
    let cosine = r[(0, 0)].hypot(r[(0, 1)]);
    let c = if cosine > POLE {
        (-r[(0, 1)]).atan2(r[(0, 0)])
    } else {
        0.0
    };
    let b = r[(0, 2)].atan2(cosine);
    let (sin, cos) = c.sin_cos();
    let a = (sin * r[(2, 0)] + cos * r[(2, 1)]).atan2(cos * r[(1, 1)] + sin * r[(1, 0)]);
    [a, b, c]
}

#[cfg(test)]
mod tests;
