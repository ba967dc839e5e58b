//! How near an arm is to itself. Decides which links are compared and what covers them; does not decide how near is too
//! near, nor knows anything but the arm.
//!
//! Every link at or below the base that a chain's joints move, or that is fixed to it, is covered by capsules made from
//! the `collision` elements of its description. Compared is every pair of links except:
//! - those of one body, which never move against each other;
//! - those of two bodies that one joint connects, which touch where that joint is;
//! - those that touch in all of [`POSES`] poses, drawn evenly inside the description's joint limits by a generator that
//!   always draws the same: covers that overlap by their making, such as those of a spherical wrist.
//!
//! Why no pair is left out because it never touches: that is only known for the poses that were tried.

use std::ops::Range;

use nalgebra::{Isometry3, Vector3};
use tactus_types::{JointVec, MAX_JOINTS};

use crate::capsule::{Capsule, capsule_of};
use crate::chain::{Chain, Frames};
use crate::error::KinematicsError;
use crate::urdf::{self, Tree};

/// Poses that are tried to find the pairs that always touch.
pub const POSES: usize = 1000;

/// Most collision shapes of an arm: descriptions come from the network, and a tick looks at all of them.
pub const MAX_SHAPES: usize = 64;

/// Why a pair of links is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOutBecause {
    /// They are fixed to each other.
    OneBody,
    /// One joint connects their bodies.
    Adjacent,
    /// They touched in every pose that was tried.
    AlwaysTouch,
}

/// A pair of links that is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// Places of the two in [`SelfCollision::links`], the lower first.
    pub links: (usize, usize),
    /// Why.
    pub because: LeftOutBecause,
}

/// The two links that are nearest to each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Distance of their covers, m, never more than that of what they cover; negative when these overlap. Infinite when
    /// no pair is compared, minus infinite when the joints are not finite: then nothing is known to be free.
    pub distance_m: f64,
    /// Places of the two in [`SelfCollision::links`], the lower first; (0, 0) when no pair is compared.
    pub links: (usize, usize),
}

/// Distances of an arm's bodies from each other at one configuration. Fixed size, to be kept and written again.
#[derive(Debug, Clone, Copy)]
pub struct Distances {
    /// `apart_m[b][a]`, a < b: of the nearest links of bodies a and b that are compared, or less; infinite without such.
    apart_m: [[f64; MAX_JOINTS + 1]; MAX_JOINTS + 1],
    least_m: f64,
}

impl Default for Distances {
    fn default() -> Self {
        Self {
            apart_m: [[f64::INFINITY; MAX_JOINTS + 1]; MAX_JOINTS + 1],
            least_m: f64::INFINITY,
        }
    }
}

impl Distances {
    /// The least of them, m.
    pub fn least_m(&self) -> f64 {
        self.least_m
    }
}

/// Where the capsules of an arm are: room to work in, to be kept and written again.
#[derive(Debug, Clone)]
pub struct Placed([PlacedCapsule; MAX_SHAPES]);

/// In the base frame, with twice its middle and the radius of the sphere about that which contains it, m.
#[derive(Debug, Clone, Copy)]
struct PlacedCapsule {
    capsule: Capsule,
    twice_middle: Vector3<f64>,
    around_m: f64,
}

impl Default for Placed {
    fn default() -> Self {
        let capsule = Capsule {
            a: Vector3::zeros(),
            b: Vector3::zeros(),
            radius_m: 0.0,
        };
        Self(
            [PlacedCapsule {
                capsule,
                twice_middle: Vector3::zeros(),
                around_m: 0.0,
            }; MAX_SHAPES],
        )
    }
}

/// One link's cover: a run of capsules fixed to one body.
#[derive(Debug, Clone, PartialEq)]
struct Cover {
    body: usize,
    /// In the body's frame, each with the radius of the sphere about its middle that contains it, m.
    capsules: Vec<(Capsule, f64)>,
    /// Their places among those of all links.
    places: Range<usize>,
}

/// The cover of an arm and the pairs of links that are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfCollision {
    chain: Chain,
    links: Vec<String>,
    covers: Vec<Cover>,
    compared: Vec<(usize, usize)>,
    left_out: Vec<LeftOut>,
    /// Per body, how far a joint moves the points of its links at most, per unit of the joint; in the arm's order.
    reach: Vec<JointVec>,
}

impl SelfCollision {
    /// Covers the arm of the URDF `text`, which `chain` was made from. The collision shapes of `skip` are not looked at.
    ///
    /// # Errors
    /// [`KinematicsError`], naming the link: a name in `skip` that is no link, a mesh, sizes that are not usable, shapes on
    /// a link whose place the chain's joints do not tell, such as a finger's: it belongs in `skip`, and the space that
    /// fingers move in can be covered by shapes of the link that carries them; more than [`MAX_SHAPES`] shapes.
    pub fn from_urdf(text: &str, chain: Chain, skip: &[&str]) -> Result<Self, KinematicsError> {
        let tree = Tree::from_urdf(text)?;
        for link in skip.iter().copied().chain([chain.base(), chain.tip()]) {
            tree.check_link(link)?;
        }
        let (mut links, mut covers) = (Vec::new(), Vec::new());
        for link in tree.links() {
            if link.collision.is_empty() || skip.contains(&link.name.as_str()) {
                continue;
            }
            let Some((body, x_link)) = place(&tree, &chain, &link.name)? else {
                continue;
            };
            let mut capsules = Vec::new();
            for collision in &link.collision {
                let what = || format!("link `{}`, collision", link.name);
                let x_shape = urdf::pose(&collision.origin, what)?;
                let capsule = capsule_of(&collision.geometry, &link.name)?;
                let around_m = 0.5 * (capsule.b - capsule.a).norm() + capsule.radius_m;
                capsules.push((capsule.transformed(&(x_link * x_shape)), around_m));
            }
            links.push(link.name.clone());
            let first = covers.last().map_or(0, |cover: &Cover| cover.places.end);
            let places = first..first + capsules.len();
            if places.end > MAX_SHAPES {
                return Err(urdf::element(
                    "collision shapes",
                    "at most 64 of all links that are looked at",
                    "more",
                ));
            }
            covers.push(Cover {
                body,
                capsules,
                places,
            });
        }
        let mut out = Self {
            chain,
            links,
            covers,
            compared: Vec::new(),
            left_out: Vec::new(),
            reach: Vec::new(),
        };
        out.reach = (0..=out.chain.joints().len())
            .map(|body| out.reach_of(body))
            .collect();
        out.choose_pairs();
        Ok(out)
    }

    /// Names of the links that are covered, in the description's order.
    pub fn links(&self) -> &[String] {
        &self.links
    }

    /// The pairs of links that are compared.
    pub fn compared(&self) -> &[(usize, usize)] {
        &self.compared
    }

    /// The pairs of links that are not compared, and why.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The capsules of link number `link`, in the base frame when the joints are at `q`. For checks and pictures.
    ///
    /// # Panics
    /// If there is no such link or `q` has fewer values than the chain has joints.
    pub fn capsules(&self, link: usize, q: &JointVec) -> impl Iterator<Item = Capsule> {
        let mut frames = Frames::default();
        self.chain.frames(q, &mut frames);
        let Cover { body, capsules, .. } = &self.covers[link];
        let x = frames.bodies()[*body];
        capsules.iter().map(move |(c, _)| c.transformed(&x))
    }

    /// The two links that are nearest to each other when the joints are at `q`, rad or m in the arm's order.
    ///
    /// # Panics
    /// If `q` has fewer values than the chain has joints.
    pub fn nearest(&self, q: &JointVec) -> Nearest {
        if !q.is_finite() {
            return Nearest {
                distance_m: f64::NEG_INFINITY,
                links: (0, 0),
            };
        }
        let mut frames = Frames::default();
        self.chain.frames(q, &mut frames);
        self.nearest_at(&frames)
    }

    /// [`SelfCollision::nearest`] from `frames` that [`Chain::frames`] of this chain has written for finite joints.
    pub fn nearest_at(&self, frames: &Frames) -> Nearest {
        let mut nearest = Nearest {
            distance_m: f64::INFINITY,
            links: (0, 0),
        };
        let mut placed = Placed::default();
        self.place(frames, &mut placed);
        for &links in &self.compared {
            let distance_m = self.nearer_m(links, &placed, nearest.distance_m);
            if distance_m < nearest.distance_m {
                nearest = Nearest { distance_m, links };
            }
        }
        nearest
    }

    /// Writes the distances of the bodies at `frames`, which [`Chain::frames`] of this chain has written for finite joints.
    /// Those below `exact_below_m` are exact; others may be written as less than they are, yet not as less than this.
    pub fn distances_at(
        &self,
        frames: &Frames,
        exact_below_m: f64,
        placed: &mut Placed,
        out: &mut Distances,
    ) {
        for row in out.apart_m.iter_mut().take(self.reach.len()) {
            *row = [f64::INFINITY; MAX_JOINTS + 1];
        }
        out.least_m = f64::INFINITY;
        self.place(frames, placed);
        for &(one, other) in &self.compared {
            let (one_body, other_body) = (self.covers[one].body, self.covers[other].body);
            let (a, b) = (one_body.min(other_body), one_body.max(other_body));
            let apart = &mut out.apart_m[b][a];
            *apart = self.nearer_m((one, other), placed, apart.min(exact_below_m));
            out.least_m = out.least_m.min(*apart);
        }
    }

    /// For how long no two links can come nearer than `clearance_m`, s, when `distances` are those of now and no joint is
    /// faster than `speeds` (>= 0, rad/s or m/s): negative when they are nearer now. A joint comes no farther in that time
    /// than it could move the outer of two bodies, however the others stand; joints outside the two do not count.
    pub fn clear_for(&self, distances: &Distances, speeds: &JointVec, clearance_m: f64) -> f64 {
        let mut secs = f64::INFINITY;
        for (b, reach) in self.reach.iter().enumerate().skip(1) {
            let mut closing = 0.0;
            for (a, index) in self.chain.indices_along().enumerate().take(b).rev() {
                closing += reach[index] * speeds[index];
                let room = distances.apart_m[b][a] - clearance_m;
                // Divides only where it is sooner, or nothing moves. 0 / 0 there is no nearer: `min` drops it.
                let later = room >= secs * closing;
                if !later {
                    secs = secs.min(room / closing);
                }
            }
        }
        secs
    }

    fn reach_of(&self, body: usize) -> JointVec {
        let extent = |(c, _): &(Capsule, f64)| c.a.norm().max(c.b.norm()) + c.radius_m;
        let own = self.covers.iter().filter(|cover| cover.body == body);
        let farthest = own.flat_map(|cover| &cover.capsules).map(extent);
        let farthest = farthest.max_by(f64::total_cmp);
        self.chain
            .reach_of(|other| farthest.filter(|_| other == body))
    }

    /// Writes all capsules in the base frame, link by link.
    fn place(&self, frames: &Frames, placed: &mut Placed) {
        let all = self.covers.iter().flat_map(|cover| {
            let x = &frames.bodies()[cover.body];
            cover.capsules.iter().map(move |(capsule, around_m)| {
                let capsule = capsule.transformed(x);
                PlacedCapsule {
                    capsule,
                    twice_middle: capsule.a + capsule.b,
                    around_m: *around_m,
                }
            })
        });
        for (slot, capsule) in placed.0.iter_mut().zip(all) {
            *slot = capsule;
        }
    }

    /// Distance of two links' covers, m, if it is less than `least_m`; else `least_m`.
    fn nearer_m(&self, (one, other): (usize, usize), placed: &Placed, least_m: f64) -> f64 {
        let of = |link: usize| &placed.0[self.covers[link].places.clone()];
        let mut least = least_m;
        for other in of(other) {
            for own in of(one) {
                // Spheres around them that are no nearer: neither are they. Most pairs end here.
                let apart = (other.twice_middle - own.twice_middle).norm_squared() * 0.25;
                let far = least + other.around_m + own.around_m;
                if far > 0.0 && apart >= far * far {
                    continue;
                }
                least = least.min(own.capsule.distance_m(&other.capsule));
            }
        }
        least
    }

    fn choose_pairs(&mut self) {
        let count = self.covers.len();
        let all = (0..count).flat_map(|one| (one + 1..count).map(move |other| (one, other)));
        for links in all {
            let because = match self.covers[links.0]
                .body
                .abs_diff(self.covers[links.1].body)
            {
                0 => LeftOutBecause::OneBody,
                1 => LeftOutBecause::Adjacent,
                _ => {
                    self.compared.push(links);
                    continue;
                }
            };
            self.left_out.push(LeftOut { links, because });
        }
        let mut always = self.compared.clone();
        let mut frames = Frames::default();
        let mut placed = Placed::default();
        let mut draw = Draw(1);
        for _ in 0..POSES {
            let limits = self.chain.limits();
            let q = JointVec::from_fn(limits.len(), |i| {
                let [lower, upper] = limits[i];
                let endless = !(lower.is_finite() && upper.is_finite());
                let [lower, upper] = if endless {
                    [-std::f64::consts::PI, std::f64::consts::PI]
                } else {
                    [lower, upper]
                };
                lower + (upper - lower) * draw.next()
            });
            self.chain.frames(&q, &mut frames);
            self.place(&frames, &mut placed);
            always.retain(|&links| self.nearer_m(links, &placed, f64::INFINITY) <= 0.0);
        }
        self.compared.retain(|links| !always.contains(links));
        self.left_out
            .extend(always.into_iter().map(|links| LeftOut {
                links,
                because: LeftOutBecause::AlwaysTouch,
            }));
    }
}

/// Which body a link is fixed to and its frame there; `None` for a link that is not below the base.
fn place(
    tree: &Tree,
    chain: &Chain,
    link: &str,
) -> Result<Option<(usize, Isometry3<f64>)>, KinematicsError> {
    let mut x = Isometry3::identity();
    if link == chain.base() {
        return Ok(Some((0, x)));
    }
    let below_base = tree.above(link).any(|j| j.parent.link == chain.base());
    if !below_base {
        return Ok(None);
    }
    for joint in tree.above(link) {
        if let Some(i) = chain.joints_along().position(|name| name == joint.name) {
            return Ok(Some((i + 1, x)));
        }
        if joint.joint_type != urdf_rs::JointType::Fixed {
            return Err(urdf::element(
                format!("link `{link}`, collision"),
                "a link that the chain's joints place, or the link among those left out",
                format!("one that joint `{}` moves", joint.name),
            ));
        }
        x = urdf::pose(&joint.origin, || format!("joint `{}`", joint.name))? * x;
        if joint.parent.link == chain.base() {
            break;
        }
    }
    Ok(Some((0, x)))
}

/// SplitMix64, as numbers in [0, 1). Source: Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
