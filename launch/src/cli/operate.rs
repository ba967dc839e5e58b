//! Who looks at a cell or commands it from outside.

use std::path::PathBuf;

use clap::Args;

use super::cell::RoleArgs;

/// What `tactus teleop --help` ends with.
const PANEL: &str = "\
The page needs a browser and nothing else: no other site, no plug-in. Space holds, from anywhere on the page; what else keys do \
is shown there. Hold and stop wait for nothing; other orders are given under the arm's lease, as `tactus order` does, and an \
episode goes on when the panel ends. Whoever takes over with the page's keys has to stay: closing the page ends in a hold.

/metrics is for Prometheus, --otlp sends traces to a collector of OpenTelemetry; `tactus foxglove` serves the cell's messages \
to Foxglove. The panel runs at a low priority and remembers only the newest of everything; launch/PANEL.md.";

/// `tactus panel`.
#[derive(Debug, Args)]
#[command(after_long_help = PANEL)]
pub struct PanelArgs {
    /// Cell file.
    #[arg(long, value_name = "FILE")]
    pub cell: PathBuf,
    /// Endpoint of any process of the cell, for example tcp/127.0.0.1:7447; must be reachable. Not needed where the cell file says
    /// where its hosts are ([[host]]).
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Vec<String>,
    /// Where the page is served. Anywhere but on loopback a token is required, which is printed once.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7470")]
    pub listen: std::net::SocketAddr,
    /// Require a token on loopback too: other users of this machine reach it.
    #[arg(long)]
    pub token: bool,
    /// Nobody may give orders from the page.
    #[arg(long)]
    pub view_only: bool,
    /// Send a trace of every chunk, its stages as spans, to the OpenTelemetry collector at this address, for example
    /// http://127.0.0.1:4318 (OTLP over HTTP).
    #[arg(long, value_name = "URL")]
    pub otlp: Option<crate::panel::Collector>,
    /// End in an orderly way when the parent process dies.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// `tactus foxglove`.
#[derive(Debug, Args)]
pub struct FoxgloveArgs {
    /// Cell file.
    #[arg(long, value_name = "FILE")]
    pub cell: PathBuf,
    /// Endpoint of any process of the cell, for example tcp/127.0.0.1:7447; must be reachable. Not needed where the cell file says
    /// where its hosts are ([[host]]).
    #[arg(long, value_name = "ENDPOINT")]
    pub connect: Vec<String>,
    /// Where Foxglove connects to. Anywhere but on loopback a token is required, which is printed once.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8765")]
    pub listen: std::net::SocketAddr,
    /// Require a token on loopback too: other users of this machine reach it.
    #[arg(long)]
    pub token: bool,
    /// End in an orderly way when the parent process dies.
    #[arg(long, hide = true)]
    pub supervised: bool,
}

/// `tactus ros`.
#[derive(Debug, Args)]
pub struct RosArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// ROS_DOMAIN_ID of the nodes that shall see the cell.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=232))]
    pub domain_id: u8,
    /// Namespace of the cell's topics and services.
    #[arg(long, value_name = "/NAME", default_value = "/tactus")]
    pub namespace: String,
    /// Endpoint of the ROS 2 side's router (rmw_zenohd, or zenohd), which may come later.
    #[arg(long, value_name = "ENDPOINT", default_value = tactus_ros::node::ROUTER)]
    pub ros_router: Vec<String>,
    /// Endpoint to listen on for nodes of ROS 2.
    #[arg(long, value_name = "ENDPOINT", default_value = tactus_ros::node::LISTEN)]
    pub ros_listen: Vec<String>,
    /// Use addresses beyond this host for ROS 2. Nothing is encrypted there: whoever reaches them sees the cell and may stop it,
    /// and with --commands may move the arm.
    #[arg(long)]
    pub ros_network: bool,
    /// Let ROS 2 begin motion: enable the arm, start the policy, take over and command it by topics. It ranks above the policy
    /// and below an operator.
    #[arg(long)]
    pub commands: bool,
    /// Sentence that the service `start` starts the policy with, until one comes on the topic `instruction`.
    #[arg(long, value_name = "TEXT", requires = "commands")]
    pub instruction: Option<String>,
    /// Joint states a second, at most.
    #[arg(long, value_name = "HZ", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rate: u16,
}

const TELEOP: &str = "\
Nothing is commanded until you take over; from then on a policy is silent. The arm brakes, comes together with your
device (--reference), and follows it inside the same limits as a policy. Hand back, and the policy goes on from a fresh
observation. Let go of the dead man's switch, lose the device, or leave: the arm holds. Torque never goes off.

Keys: Enter take over, Backspace hand back, Space hold, x stop, c open or close the clutch, Esc or Ctrl-C leave.
Gamepad: start take over, select hand back, right action button hold; hold the right shoulder button to move.
Without a view (--headless) the words take-over, hand-back, hold, stop, clutch and quit on stdin do the same.

Every source, and how a program of your own does all this: launch/OPERATING.md and drivers/teleop/README.md.";

/// `tactus teleop`.
#[derive(Debug, Args)]
#[command(after_long_help = TELEOP)]
pub struct TeleopArgs {
    /// What every role takes.
    #[command(flatten)]
    pub role: RoleArgs,
    /// What is in your hand.
    #[arg(long, value_enum)]
    pub source: SourceWord,
    /// Input device of a gamepad or SpaceMouse, /dev/input/event*. Default: the first that is one.
    #[arg(long, value_name = "PATH")]
    pub device: Option<PathBuf>,
    /// File whose section [device] says where the leader arm is; the rest of it does not count.
    #[arg(long, value_name = "FILE")]
    pub leader_cell: Option<PathBuf>,
    /// How your device and the arm come together. Default: leader for a leader arm, clutch for everything else.
    #[arg(long, value_enum)]
    pub reference: Option<ReferenceWord>,
    /// How often the device is read and its setpoint sent. Default: the leader's rate, else 100.
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(20..=200))]
    pub rate: Option<u32>,
    /// What sticks, cap and keys move along. Default: base, or joints for an arm that does not describe its links.
    #[arg(long, value_enum)]
    pub frame: Option<FrameWord>,
    /// Speed of a full deflection or a key: share of 0.25 m/s, 1 rad/s and half of the joints' velocity limits.
    #[arg(long, value_name = "SHARE", default_value_t = 0.4)]
    pub speed: f64,
    /// No view: a line per change of mode, and words on stdin.
    #[arg(long)]
    pub headless: bool,
}

/// Devices in someone's hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SourceWord {
    /// A leader arm (SO-100, SO-101), joint to joint.
    Leader,
    /// A gamepad: speed of the tool, with a dead man's switch.
    Gamepad,
    /// A SpaceMouse: speed of the tool.
    Spacemouse,
    /// The terminal's keys: each press is a step that ends by itself, since a terminal says nothing of releases.
    Keyboard,
}

/// How leader and arm come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReferenceWord {
    /// Joint to joint: you bring the leader to where the arm is.
    Leader,
    /// Joint to joint: the arm comes to the leader, slowly.
    Slide,
    /// Only how the device moves from then on counts.
    Clutch,
}

impl From<ReferenceWord> for tactus_types::Reference {
    fn from(word: ReferenceWord) -> Self {
        match word {
            ReferenceWord::Leader => Self::Leader,
            ReferenceWord::Slide => Self::Slide,
            ReferenceWord::Clutch => Self::Clutch,
        }
    }
}

/// What deflections are along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FrameWord {
    /// The arm's base: forward, left, up.
    Base,
    /// The tool's own axes.
    Tool,
    /// The arm's joints, one axis each.
    Joints,
}
