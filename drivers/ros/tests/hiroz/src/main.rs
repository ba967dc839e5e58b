// Keys and tokens of ROS 2 over rmw_zenoh as `hiroz-protocol` 0.2.1 forms them, as JSON.

fn main() {
    use hiroz_protocol::qos::{QosHistory, QosProfile, QosReliability};
    use hiroz_protocol::{
        EndpointEntity, EndpointKind, KeyExprFormat, NodeEntity, TypeHash, TypeInfo,
    };
    let format = KeyExprFormat::default();
    let types = [
        (
            "sensor_msgs::msg::dds_::JointState_",
            "RIHS01_a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e",
        ),
        (
            "std_srvs::srv::dds_::Trigger_",
            "RIHS01_eeff2cd6fa5ad9d27cdf4dec64818317839b62f212a91e6b5304b634b2062c5f",
        ),
    ];
    let mut rows = Vec::new();
    for (domain, session, namespace, name) in [
        (0, "a1b2", "/", "talker"),
        (7, "1234567890abcdef1234567890abcdef", "/tactus", "demo"),
        (232, "f", "/a/b_c/d1", "left_arm"),
    ] {
        let session = session.parse().expect("an identity");
        let node = NodeEntity::new(domain, session, 0, name.into(), namespace.into(), String::new());
        let token = format.node_liveliness_key_expr(&node).expect("a token");
        rows.push(format!(
            r#"{{"domain":{domain},"session":"{session}","namespace":"{namespace}","node":"{name}","token":"{}"}}"#,
            token.as_str()
        ));
        for (kind, topic, ty) in [
            (EndpointKind::Publisher, "/joint_states", 0),
            (EndpointKind::Subscription, "/tactus/arm/command/trajectory", 0),
            (EndpointKind::Service, "/tactus/hold", 1),
            (EndpointKind::Client, "/tactus/hold", 1),
        ] {
            for (reliable, depth) in [(true, 10), (false, 5)] {
                let (ty, hash) = types[ty];
                let endpoint = EndpointEntity {
                    id: 3,
                    node: Some(node.clone()),
                    kind,
                    topic: topic.into(),
                    type_info: Some(TypeInfo::new(ty, TypeHash::from_rihs_string(hash).expect("a hash"))),
                    qos: QosProfile {
                        reliability: match reliable {
                            true => QosReliability::Reliable,
                            false => QosReliability::BestEffort,
                        },
                        history: QosHistory::from_depth(depth),
                        ..QosProfile::default()
                    },
                };
                let key = format.topic_key_expr(&endpoint).expect("a key");
                let token = format.liveliness_key_expr(&endpoint, &node.z_id).expect("a token");
                rows.push(format!(
                    r#"{{"domain":{domain},"session":"{session}","namespace":"{namespace}","node":"{name}","id":3,"kind":"{kind}","name":"{topic}","type":"{ty}","hash":"{hash}","reliable":{reliable},"depth":{depth},"key":"{}","token":"{}"}}"#,
                    key.as_str(),
                    token.as_str()
                ));
            }
        }
    }
    println!("[\n{}\n]", rows.join(",\n"));
}
