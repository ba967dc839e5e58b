//! The protobuf descriptors of the messages: what a recording embeds, so that it can be read without this program.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tactus_types::{ArmInfo, CameraFrame, InferenceRequest, JointState, OperatorSetpoint};

use crate::{
    AppliedBatch, CameraInfo, CameraStatus, ChunkReply, DeviceCommand, EngineStatus, EpisodeEvent,
    EvalReport, Message, ModeReport, Reasoning, SimWorld, Telemetry, TickBatch, Topic,
};

/// Every file that `build.rs` compiled and what they import, as a `google.protobuf.FileDescriptorSet`.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// An encoded `google.protobuf.FileDescriptorSet` of the file that declares `schema` (a full protobuf name, see
/// [`crate::Message::SCHEMA`]) and of all that it imports, imports first. `None` for a name that no file declares.
pub fn descriptor_set(schema: &str) -> Option<Vec<u8>> {
    // The bytes are ours; a build that broke them fails the tests below.
    let all = FileDescriptorSet::decode(DESCRIPTORS).ok()?;
    let declares = |file: &&FileDescriptorProto| {
        let package = file.package();
        file.message_type.iter().any(|message| {
            schema
                .strip_prefix(package)
                .and_then(|rest| rest.strip_prefix('.'))
                == Some(message.name())
        })
    };
    let root = all.file.iter().find(declares)?;
    let mut wanted = Vec::new();
    collect(root, &all, &mut BTreeSet::new(), &mut wanted);
    Some(FileDescriptorSet { file: wanted }.encode_to_vec())
}

/// Schema of what is published on `topic`; `None` where nothing is: there only questions are asked.
pub fn schema_of(topic: &Topic) -> Option<&'static str> {
    Some(match topic {
        Topic::CameraImage(_) => CameraFrame::SCHEMA,
        Topic::CameraInfo(_) => CameraInfo::SCHEMA,
        Topic::CameraStatus(_) => CameraStatus::SCHEMA,
        Topic::DeviceState(_) | Topic::ArmState(_) => JointState::SCHEMA,
        Topic::DeviceCommand(_) => DeviceCommand::SCHEMA,
        Topic::DeviceInfo(_) | Topic::ArmInfo(_) => ArmInfo::SCHEMA,
        Topic::ArmRequest(_) => InferenceRequest::SCHEMA,
        Topic::ArmChunk(_) => ChunkReply::SCHEMA,
        Topic::ArmApplied(_) => AppliedBatch::SCHEMA,
        Topic::ArmSetpoint(..) => OperatorSetpoint::SCHEMA,
        Topic::ArmMode(_) => ModeReport::SCHEMA,
        Topic::ArmTelemetry(_) => Telemetry::SCHEMA,
        Topic::ArmTicks(_) => TickBatch::SCHEMA,
        Topic::EngineStatus(_) => EngineStatus::SCHEMA,
        Topic::EngineReasoning(_) => Reasoning::SCHEMA,
        Topic::Episode => EpisodeEvent::SCHEMA,
        Topic::Eval => EvalReport::SCHEMA,
        Topic::SimWorld => SimWorld::SCHEMA,
        Topic::CameraStep(_)
        | Topic::ArmOrder(..)
        | Topic::ArmLease(..)
        | Topic::ArmStop(_)
        | Topic::EvalPicture
        | Topic::Clock(_)
        | Topic::SimReset
        | Topic::Alive(..) => return None,
    })
}

/// Adds `file` after everything that it imports.
fn collect(
    file: &FileDescriptorProto,
    all: &FileDescriptorSet,
    seen: &mut BTreeSet<String>,
    wanted: &mut Vec<FileDescriptorProto>,
) {
    if !seen.insert(file.name().to_owned()) {
        return;
    }
    for import in &file.dependency {
        if let Some(imported) = all.file.iter().find(|f| f.name() == import) {
            collect(imported, all, seen, wanted);
        }
    }
    wanted.push(file.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvalAnswer, LeaseReply, LeaseRequest, ModeOrder, SimReset};

    #[test]
    fn every_message_brings_all_that_its_file_imports_imports_first() {
        let schemas = [
            CameraFrame::SCHEMA,
            CameraInfo::SCHEMA,
            CameraStatus::SCHEMA,
            JointState::SCHEMA,
            DeviceCommand::SCHEMA,
            ArmInfo::SCHEMA,
            InferenceRequest::SCHEMA,
            ChunkReply::SCHEMA,
            AppliedBatch::SCHEMA,
            OperatorSetpoint::SCHEMA,
            ModeReport::SCHEMA,
            ModeOrder::SCHEMA,
            LeaseRequest::SCHEMA,
            LeaseReply::SCHEMA,
            Telemetry::SCHEMA,
            EngineStatus::SCHEMA,
            Reasoning::SCHEMA,
            EpisodeEvent::SCHEMA,
            EvalReport::SCHEMA,
            EvalAnswer::SCHEMA,
            SimWorld::SCHEMA,
            SimReset::SCHEMA,
            TickBatch::SCHEMA,
        ];
        for schema in schemas {
            let bytes = descriptor_set(schema).expect(schema);
            let set = FileDescriptorSet::decode(bytes.as_slice()).expect("descriptors");
            for (i, file) in set.file.iter().enumerate() {
                for import in &file.dependency {
                    assert!(
                        set.file[..i].iter().any(|f| f.name() == import),
                        "{schema}: {import}"
                    );
                }
            }
            let last = set.file.last().expect("a file");
            let name = schema.rsplit('.').next();
            assert!(
                last.message_type.iter().any(|m| Some(m.name()) == name),
                "{schema}"
            );
        }
        for unknown in ["", "tactus.v1", "tactus.v1.", "tactus.v1.Nothing", "Mode"] {
            assert_eq!(descriptor_set(unknown), None, "{unknown}");
        }
    }
}
