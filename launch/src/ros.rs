//! `tactus ros`: the cell as a node of ROS 2, over rmw_zenoh.
//!
//! ```text
//!   cell --arm/state, applied, mode, camera/image--> newest of each --own threads--> topics of ROS 2
//!   services: hold, stop, end --------------------------------------> orders, at once
//!   services: enable, start, command, hand_back --with --commands---> orders, one after the other, under the lease
//!   topics: command/joint_trajectory, command/positions --plan--> setpoints under the lease --> arm host
//! ```
//! Two sessions: one in the cell, as any other process; one among ROS 2's nodes, on loopback unless asked otherwise. Nothing
//! passes from one to the other but what is named here. Decides which of the cell's orders ROS 2 may give: to end motion
//! always; to begin one only with `--commands`. What it commands is a source like a human's, below one in rank, through the arm
//! host's own checks and limits. What comes from ROS 2 is nobody's in particular and hostile until it is checked.
//!
//! - [`show`]: what the cell says. [`orders`]: the services. [`command`]: the topics that command.

mod command;
mod orders;
mod show;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use tactus_ros::keys::part;
use tactus_ros::{NodeOptions, RosName, RosNode};
use tactus_types::{ArmInfo, Clock, Time};
use tactus_wire::{CellClock, Mesh, Nothing, Topic};

use crate::cell;
use crate::cli::RosArgs;
use crate::{order, result, roles};

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How often it tells what it has refused, where that has grown.
const TELL: Duration = Duration::from_secs(10);

/// Serves until it is told to end.
pub fn ros(args: &RosArgs) -> anyhow::Result<()> {
    let cell = Arc::new(cell::load(&args.role.cell)?);
    let namespace = RosName::new(&args.namespace).context("--namespace")?;
    let joined = roles::join(&args.role, "ros")?;
    let session = &joined.session;
    let key = cell.wire.key(&Topic::ArmInfo(cell.arm.clone()));
    session.wait_for_answerer(&key, order::ANSWER_WITHIN)?;
    let info: ArmInfo = session
        .query(&key, &Nothing, order::ANSWER_WITHIN)
        .context("the arm host does not answer")?
        .message;
    info.check()?;
    let node = RosNode::start(NodeOptions {
        domain: args.domain_id,
        namespace: Some(namespace.clone()),
        name: part(cell.name.as_str()),
        mesh: Mesh {
            connect: args.ros_router.clone(),
            listen: args.ros_listen.clone(),
            network: args.ros_network,
        },
    })
    .context("the ROS 2 side (--ros-router, --ros-listen, --ros-network)")?;
    let bridge = Arc::new(Bridge {
        cell,
        joined,
        info,
        node,
        namespace,
    });
    let _showing = show::start(&bridge, args.rate)?;
    let _orders = orders::start(&bridge, args)?;
    let commands = if args.commands { ", commands" } else { "" };
    result::line(format_args!(
        "ros: {}/{} in domain {}{commands}; listens on {}",
        bridge.namespace,
        bridge.node.name().name,
        args.domain_id,
        bridge.node.endpoints().join(", ")
    ))?;
    let mut told = (0, 0);
    let mut waited = Duration::ZERO;
    while !bridge.joined.stop.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        waited += LOOK;
        let refused = bridge.node.refused();
        let counts = (refused.attachments(), refused.bytes());
        if waited >= TELL && counts != told {
            (told, waited) = (counts, Duration::ZERO);
            tracing::warn!(
                attachments = counts.0,
                payloads = counts.1,
                "refused of ROS 2 so far"
            );
        }
    }
    Ok(())
}

/// What all parts share.
pub struct Bridge {
    pub cell: Arc<cell::Cell>,
    pub joined: roles::Joined,
    pub info: ArmInfo,
    pub node: RosNode,
    pub namespace: RosName,
}

impl Bridge {
    pub fn clock(&self) -> &Arc<CellClock> {
        &self.joined.clock
    }

    /// The topic or service `name` of the cell.
    pub fn name(&self, name: &str) -> anyhow::Result<RosName> {
        Ok(self.namespace.join(name)?)
    }

    /// `at` as ROS 2 stamps it, on this host's wall clock as it is now.
    pub fn unix_nanos(&self, at: Time) -> u64 {
        let now = self.clock().now();
        let wall = tactus_ros::node::unix_nanos();
        let ago = u64::try_from(now.since(at).as_nanos()).unwrap_or(u64::MAX);
        wall.saturating_sub(ago)
    }

    pub fn is_done(&self) -> bool {
        self.joined.stop.load(Ordering::Relaxed)
    }
}

/// Threads and subscriptions that live as long as this does.
pub struct Kept {
    bridge: Arc<Bridge>,
    pub subscriptions: Vec<tactus_wire::Subscriber>,
    pub topics: Vec<tactus_ros::node::RosSubscriber>,
    pub services: Vec<tactus_ros::node::ServiceServer>,
    pub threads: Vec<std::thread::JoinHandle<()>>,
}

impl Kept {
    /// Nothing yet.
    pub fn new(bridge: &Arc<Bridge>) -> Self {
        Self {
            bridge: bridge.clone(),
            subscriptions: vec![],
            topics: vec![],
            services: vec![],
            threads: vec![],
        }
    }
}

impl Drop for Kept {
    /// Nothing new comes; then the threads end, with the whole process.
    fn drop(&mut self) {
        self.bridge.joined.stop.store(true, Ordering::Relaxed);
        self.subscriptions.clear();
        self.topics.clear();
        self.services.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the bridge panicked");
            }
        }
    }
}

/// A named thread that runs until the bridge is done.
pub fn thread(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let builder = std::thread::Builder::new().name(name.into());
    builder
        .spawn(run)
        .with_context(|| format!("thread `{name}`"))
}
