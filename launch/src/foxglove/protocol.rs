//! What is said over Foxglove's websocket: its protocol (`foxglove.websocket.v1`, and `foxglove.sdk.v1`, which is the same in
//! all that is used here), from channels to texts and frames and back. Pure.
//!
//! A server greets with who it is and what there is; a client subscribes to channels under numbers of its own; from then on
//! every message is a binary frame. Schemas go along, so that Foxglove needs to know nothing of this program.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use tactus_wire::{Topic, descriptor_set, schema_of};

use crate::cell::Cell;

/// Names of the protocol, as websockets negotiate them.
pub const NAMES: [&str; 2] = ["foxglove.sdk.v1", "foxglove.websocket.v1"];
/// First byte of a message's frame.
const MESSAGE_DATA: u8 = 1;

/// What is published on the keys of `cell`: a channel each, whose number is its place here.
pub fn topics(cell: &Cell) -> Vec<Topic> {
    let (arm, device) = (|| cell.arm.clone(), || cell.device.clone());
    let mut topics = vec![
        Topic::ArmMode(arm()),
        Topic::ArmTelemetry(arm()),
        Topic::ArmState(arm()),
        Topic::ArmApplied(arm()),
        Topic::ArmRequest(arm()),
        Topic::ArmChunk(arm()),
        Topic::ArmInfo(arm()),
        Topic::ArmTicks(arm()),
        Topic::DeviceState(device()),
        Topic::DeviceCommand(device()),
        Topic::DeviceInfo(device()),
        Topic::EngineStatus(cell.engine.clone()),
        Topic::EngineReasoning(cell.engine.clone()),
        Topic::Episode,
    ];
    for camera in &cell.cameras {
        topics.push(Topic::CameraImage(camera.name.clone()));
        topics.push(Topic::CameraInfo(camera.name.clone()));
        topics.push(Topic::CameraStatus(camera.name.clone()));
    }
    if cell.sim.is_some() {
        topics.push(Topic::SimWorld);
    }
    topics
}

/// Who serves: the cell called `cell`, in a session that has another `id` after every start.
pub fn server_info(cell: &str, id: &str) -> String {
    json!({
        "op": "serverInfo",
        "name": format!("tactus, cell {cell}"),
        "capabilities": [],
        "metadata": { "cell": cell, "version": env!("CARGO_PKG_VERSION") },
        "sessionId": id,
    })
    .to_string()
}

/// What there is to subscribe to: `topics` under their keys, with their schemas.
pub fn advertise(wire: &tactus_wire::Cell, topics: &[Topic]) -> String {
    let channels = topics.iter().enumerate().filter_map(|(id, topic)| {
        let schema = schema_of(topic)?;
        Some(json!({
            "id": id,
            "topic": wire.key(topic).as_str(),
            "encoding": "protobuf",
            "schemaName": schema,
            "schema": STANDARD.encode(descriptor_set(schema)?),
            "schemaEncoding": "protobuf",
        }))
    });
    json!({ "op": "advertise", "channels": channels.collect::<Vec<_>>() }).to_string()
}

/// A word to whoever reads problems in Foxglove.
pub fn warning(text: &str) -> String {
    json!({ "op": "status", "level": 1, "message": text }).to_string()
}

/// A message for the client's subscription `subscription`, of `unix_nanos`.
pub fn message(subscription: u32, unix_nanos: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(13 + payload.len());
    frame.push(MESSAGE_DATA);
    frame.extend_from_slice(&subscription.to_le_bytes());
    frame.extend_from_slice(&unix_nanos.to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A subscription as a client asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The client's number for it.
    pub id: u32,
    /// The channel's number.
    pub channel_id: u64,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub enum Asked {
    /// Messages of channels.
    Subscribe {
        /// Which.
        subscriptions: Vec<Subscription>,
    },
    /// No more of them.
    #[serde(rename_all = "camelCase")]
    Unsubscribe {
        /// By the client's numbers.
        subscription_ids: Vec<u32>,
    },
    /// Something that this server did not offer.
    #[serde(other)]
    Other,
}

impl Asked {
    /// What `text` asks for.
    ///
    /// # Errors
    /// Why it asks for nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|e| format!("not a message of this protocol: {e}"))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::Value;

    use super::*;
    use crate::{cell, checkout};

    fn demo() -> Cell {
        cell::load(&checkout::demo_cell().expect("in a checkout")).expect("the demo cell")
    }

    #[test]
    fn every_channel_has_a_key_and_a_schema_that_can_be_read() {
        let cell = demo();
        let topics = topics(&cell);
        let text = advertise(&cell.wire, &topics);
        let text: Value = serde_json::from_str(&text).expect("JSON");
        let channels = text["channels"].as_array().expect("channels");
        assert_eq!(
            (&text["op"], channels.len()),
            (&"advertise".into(), topics.len())
        );
        let mut keys = std::collections::BTreeSet::new();
        for (i, channel) in channels.iter().enumerate() {
            assert_eq!(channel["id"], i);
            let key = channel["topic"].as_str().expect("a key");
            assert_eq!(cell.wire.topic(key).as_ref(), Ok(&topics[i]));
            assert!(keys.insert(key.to_owned()), "{key} twice");
            let schema = STANDARD.decode(channel["schema"].as_str().expect("a schema"));
            let set = Files::decode(schema.expect("base64").as_slice()).expect("descriptors");
            assert!(!set.files.is_empty());
        }
        assert!(keys.contains("tactus/demo/camera/wrist/image"));
    }

    /// As much of a FileDescriptorSet as is asked for here.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Files {
        #[prost(bytes = "vec", repeated, tag = "1")]
        files: Vec<Vec<u8>>,
    }

    #[test]
    fn a_frame_is_a_number_a_time_and_the_message() {
        assert_eq!(
            message(7, 0x0102, b"ab"),
            [1, 7, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, b'a', b'b']
        );
    }

    #[test]
    fn what_clients_ask_for_is_understood_and_what_they_may_not_is_told() {
        let subscribe = r#"{"op":"subscribe","subscriptions":[{"id":3,"channelId":5}]}"#;
        let one = Subscription {
            id: 3,
            channel_id: 5,
        };
        let subscriptions = vec![one];
        assert_eq!(
            Asked::parse(subscribe),
            Ok(Asked::Subscribe { subscriptions })
        );
        let unsubscribe = r#"{"op":"unsubscribe","subscriptionIds":[3]}"#;
        let subscription_ids = vec![3];
        assert_eq!(
            Asked::parse(unsubscribe),
            Ok(Asked::Unsubscribe { subscription_ids })
        );
        let other = r#"{"op":"getParameters","parameterNames":[]}"#;
        assert_eq!(Asked::parse(other), Ok(Asked::Other));
        for wrong in [
            "",
            "[]",
            r#"{"op":"subscribe"}"#,
            r#"{"op":"subscribe","subscriptions":[{"id":-1,"channelId":0}]}"#,
        ] {
            assert!(Asked::parse(wrong).is_err(), "{wrong}");
        }
    }
}
