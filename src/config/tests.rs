//! The room as a whole: text in, [`Definition`] or exact message out.
use super::*;

#[test]
fn the_reference_example() {
    let d = load(
        Path::new("examples/forward-balancing.conf"),
        &Options::default(),
    )
    .unwrap();
    assert_eq!(d.name, "forward-balancing");
    let nodes: Vec<_> = d
        .nodes
        .iter()
        .map(|n| (n.name.as_str(), n.host.as_str(), n.port))
        .collect();
    assert_eq!(
        nodes,
        [
            ("node-1", "127.0.0.1", 43000),
            ("node-2", "127.0.0.1", 44000),
            ("node-3", "127.0.0.1", 45000)
        ]
    );
    assert!(d.nodes[0].settings.tls.is_none() && d.nodes[1].settings.tls.is_none());
    assert!(!d.nodes[2].settings.tls.as_ref().unwrap().verify);
    let properties: Vec<_> = d.nodes[2]
        .properties
        .iter()
        .map(|p| (p.key.as_str(), p.value.as_str()))
        .collect();
    assert_eq!(
        properties,
        [
            ("name", "node-3"),
            ("host", "127.0.0.1"),
            ("port", "45000"),
            ("tls", "on"),
            ("tls.verify", "off"),
            ("shared_key", "secret")
        ]
    );
    assert_eq!(d.warnings, [""; 0]);
}
