//! When the graphs before the steps began and ended, by a device's clock.
//!
//! Decides which points of the stream are marked. On the CPU there are none: a run says itself how long it took. The steps have
//! none either: what a chunk took beside these graphs is theirs.

use std::time::Duration;

use tactus_bundle::Graph;
use tactus_onnx::{Laps, OnnxError, Session};

/// The graphs whose beginning and end are marked.
const GRAPHS: [Graph; 3] = [Graph::Vision, Graph::Backbone, Graph::Context];

/// Beginnings and ends.
pub(crate) struct DeviceTime(Option<Laps>);

impl DeviceTime {
    /// Points in the stream that `session` runs in.
    pub fn new(session: &Session) -> Result<Self, OnnxError> {
        Ok(Self(session.laps(2 * GRAPHS.len())?))
    }

    /// `graph` begins behind everything that is in the stream.
    pub fn begin(&self, graph: Graph) {
        self.mark(graph, 0);
    }

    /// It ends there.
    pub fn end(&self, graph: Graph) {
        self.mark(graph, 1);
    }

    /// How long `graph` took in the last chunk that is done; `None` on the CPU, and for steps.
    pub fn of(&self, graph: Graph) -> Option<Duration> {
        let first = first(graph)?;
        self.0.as_ref()?.between(first, first + 1)
    }

    fn mark(&self, graph: Graph, edge: usize) {
        if let (Some(laps), Some(first)) = (&self.0, first(graph)) {
            laps.mark(first + edge);
        }
    }
}

fn first(graph: Graph) -> Option<usize> {
    let at = GRAPHS.iter().position(|known| *known == graph)?;
    Some(2 * at)
}
