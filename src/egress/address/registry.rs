//! The registries as data. Nothing here decides; `segment` turns it into a table that is quick to search.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::AddressClass::{self, *};

/// The date of the IANA IPv4 and IPv6 Special-Purpose Address Registries that the table follows.
pub const REGISTRY_DATE: &str = "2025-10-09";

/// One block of addresses with one meaning.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AddressBlock {
    /// The first address of the block.
    pub network: IpAddr,
    /// How many leading bits the addresses of the block share.
    pub prefix_len: u8,
    /// The class of addresses for which this is the longest matching block.
    pub class: AddressClass,
    /// The block's name, in the registry's words where it has one.
    pub name: &'static str,
    /// The document that defines it.
    pub rfc: &'static str,
    /// Whether it is a row of the special-purpose registries; the others come from the address architecture itself.
    pub registry: bool,
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

const fn block(
    network: IpAddr,
    prefix_len: u8,
    class: AddressClass,
    name: &'static str,
    rfc: &'static str,
    registry: bool,
) -> AddressBlock {
    AddressBlock { network, prefix_len, class, name, rfc, registry }
}

/// Every block with a meaning of its own, both families. Cost: none, it is a constant.
pub fn blocks() -> impl Iterator<Item = &'static AddressBlock> {
    V4.iter().chain(V6)
}

#[rustfmt::skip]
pub(super) const V4: &[AddressBlock] = &[
    block(v4(0, 0, 0, 0), 8, ThisNetwork, "\"This network\"", "RFC 791, section 3.2", true),
    block(v4(0, 0, 0, 0), 32, Unspecified, "\"This host on this network\"", "RFC 1122, section 3.2.1.3", true),
    block(v4(10, 0, 0, 0), 8, Private, "Private-Use", "RFC 1918", true),
    block(v4(100, 64, 0, 0), 10, Shared, "Shared Address Space", "RFC 6598", true),
    block(v4(127, 0, 0, 0), 8, Loopback, "Loopback", "RFC 1122, section 3.2.1.3", true),
    block(v4(169, 254, 0, 0), 16, LinkLocal, "Link Local", "RFC 3927", true),
    block(v4(172, 16, 0, 0), 12, Private, "Private-Use", "RFC 1918", true),
    block(v4(192, 0, 0, 0), 24, Protocol, "IETF Protocol Assignments", "RFC 6890, section 2.1", true),
    block(v4(192, 0, 0, 0), 29, Protocol, "IPv4 Service Continuity Prefix", "RFC 7335", true),
    block(v4(192, 0, 0, 8), 32, Protocol, "IPv4 dummy address", "RFC 7600", true),
    block(v4(192, 0, 0, 9), 32, Service, "Port Control Protocol Anycast", "RFC 7723", true),
    block(v4(192, 0, 0, 10), 32, Service, "Traversal Using Relays around NAT Anycast", "RFC 8155", true),
    block(v4(192, 0, 0, 170), 32, Protocol, "NAT64/DNS64 Discovery", "RFC 8880; RFC 7050, section 2.2", true),
    block(v4(192, 0, 0, 171), 32, Protocol, "NAT64/DNS64 Discovery", "RFC 8880; RFC 7050, section 2.2", true),
    block(v4(192, 0, 2, 0), 24, Documentation, "Documentation (TEST-NET-1)", "RFC 5737", true),
    block(v4(192, 31, 196, 0), 24, Service, "AS112-v4", "RFC 7535", true),
    block(v4(192, 52, 193, 0), 24, Service, "AMT", "RFC 7450", true),
    block(v4(192, 88, 99, 0), 24, Deprecated, "Deprecated (6to4 Relay Anycast)", "RFC 7526", true),
    block(v4(192, 88, 99, 2), 32, Deprecated, "6a44-relay anycast address", "RFC 6751", true),
    block(v4(192, 168, 0, 0), 16, Private, "Private-Use", "RFC 1918", true),
    block(v4(192, 175, 48, 0), 24, Service, "Direct Delegation AS112 Service", "RFC 7534", true),
    block(v4(198, 18, 0, 0), 15, Benchmarking, "Benchmarking", "RFC 2544", true),
    block(v4(198, 51, 100, 0), 24, Documentation, "Documentation (TEST-NET-2)", "RFC 5737", true),
    block(v4(203, 0, 113, 0), 24, Documentation, "Documentation (TEST-NET-3)", "RFC 5737", true),
    block(v4(224, 0, 0, 0), 4, Multicast, "Multicast", "RFC 5771", false),
    block(v4(240, 0, 0, 0), 4, Reserved, "Reserved", "RFC 1112, section 4", true),
    block(v4(255, 255, 255, 255), 32, Broadcast, "Limited Broadcast", "RFC 8190; RFC 919, section 7", true),
];

// Mapped addresses are judged as the IPv4 address inside before this table is asked; the row keeps the list whole.
#[rustfmt::skip]
pub(super) const V6: &[AddressBlock] = &[
    block(v6([0, 0, 0, 0, 0, 0, 0, 0]), 128, Unspecified, "Unspecified Address", "RFC 4291", true),
    block(v6([0, 0, 0, 0, 0, 0, 0, 0x1]), 128, Loopback, "Loopback Address", "RFC 4291", true),
    block(v6([0, 0, 0, 0, 0, 0, 0, 0]), 96, Ipv4Compatible, "IPv4-compatible Address", "RFC 4291, section 2.5.5.1", false),
    block(v6([0, 0, 0, 0, 0, 0xffff, 0, 0]), 96, Reserved, "IPv4-mapped Address", "RFC 4291", true),
    block(v6([0, 0, 0, 0, 0xffff, 0, 0, 0]), 96, Ipv4Translated, "IPv4-translated Address", "RFC 2765, section 2.1", false),
    block(v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0]), 96, Nat64, "IPv4-IPv6 Translat.", "RFC 6052", true),
    block(v6([0x64, 0xff9b, 0x1, 0, 0, 0, 0, 0]), 48, Nat64Local, "IPv4-IPv6 Translat.", "RFC 8215", true),
    block(v6([0x100, 0, 0, 0, 0, 0, 0, 0]), 64, Discard, "Discard-Only Address Block", "RFC 6666", true),
    block(v6([0x100, 0, 0, 0x1, 0, 0, 0, 0]), 64, Discard, "Dummy IPv6 Prefix", "RFC 9780", true),
    block(v6([0x2001, 0, 0, 0, 0, 0, 0, 0]), 23, Protocol, "IETF Protocol Assignments", "RFC 2928", true),
    block(v6([0x2001, 0, 0, 0, 0, 0, 0, 0]), 32, Teredo, "TEREDO", "RFC 4380; RFC 8190", true),
    block(v6([0x2001, 0x1, 0, 0, 0, 0, 0, 0x1]), 128, Service, "Port Control Protocol Anycast", "RFC 7723", true),
    block(v6([0x2001, 0x1, 0, 0, 0, 0, 0, 0x2]), 128, Service, "Traversal Using Relays around NAT Anycast", "RFC 8155", true),
    block(v6([0x2001, 0x1, 0, 0, 0, 0, 0, 0x3]), 128, Service, "DNS-SD Service Registration Protocol Anycast", "RFC 9665", true),
    block(v6([0x2001, 0x2, 0, 0, 0, 0, 0, 0]), 48, Benchmarking, "Benchmarking", "RFC 5180, erratum 1752", true),
    block(v6([0x2001, 0x3, 0, 0, 0, 0, 0, 0]), 32, Service, "AMT", "RFC 7450", true),
    block(v6([0x2001, 0x4, 0x112, 0, 0, 0, 0, 0]), 48, Service, "AS112-v6", "RFC 7535", true),
    block(v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0]), 28, Deprecated, "Deprecated (previously ORCHID)", "RFC 4843", true),
    block(v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0]), 28, Service, "ORCHIDv2", "RFC 7343", true),
    block(v6([0x2001, 0x30, 0, 0, 0, 0, 0, 0]), 28, Service, "Drone Remote ID Protocol Entity Tags (DETs) Prefix", "RFC 9374", true),
    block(v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0]), 32, Documentation, "Documentation", "RFC 3849", true),
    block(v6([0x2002, 0, 0, 0, 0, 0, 0, 0]), 16, SixToFour, "6to4", "RFC 3056", true),
    block(v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0]), 48, Service, "Direct Delegation AS112 Service", "RFC 7534", true),
    block(v6([0x3fff, 0, 0, 0, 0, 0, 0, 0]), 20, Documentation, "Documentation", "RFC 9637", true),
    block(v6([0x5f00, 0, 0, 0, 0, 0, 0, 0]), 16, SegmentRouting, "Segment Routing (SRv6) SIDs", "RFC 9602", true),
    block(v6([0xfc00, 0, 0, 0, 0, 0, 0, 0]), 7, UniqueLocal, "Unique-Local", "RFC 4193; RFC 8190", true),
    block(v6([0xfe80, 0, 0, 0, 0, 0, 0, 0]), 10, LinkLocal, "Link-Local Unicast", "RFC 4291", true),
    block(v6([0xfec0, 0, 0, 0, 0, 0, 0, 0]), 10, SiteLocal, "Site-Local Unicast", "RFC 3879", false),
    block(v6([0xff00, 0, 0, 0, 0, 0, 0, 0]), 8, Multicast, "Multicast", "RFC 4291, section 2.7", false),
    block(v6([0, 0, 0, 0, 0, 0, 0, 0]), 0, Reserved, "Not global unicast", "RFC 4291, section 2.4", false),
    block(v6([0x2000, 0, 0, 0, 0, 0, 0, 0]), 3, Public, "Global Unicast", "RFC 4291, section 2.5.4", false),
];

/// The date of the providers' documentation that [`METADATA`] follows.
pub const METADATA_DATE: &str = "2026-11-30";

/// One address of a cloud metadata service or host agent.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MetadataAddress {
    /// The address.
    pub address: IpAddr,
    /// Who serves what there.
    pub service: &'static str,
    /// Where that is documented.
    pub source: &'static str,
}

const fn serves(address: IpAddr, service: &'static str, source: &'static str) -> MetadataAddress {
    MetadataAddress { address, service, source }
}

/// Cloud metadata services and host agents. They give credentials, names or time to whoever asks.
///
/// `168.63.129.16` lies in ordinary public space; the others are in non-public blocks, and their place here
/// puts them under the floor.
#[rustfmt::skip]
pub const METADATA: &[MetadataAddress] = &[
    serves(v4(169, 254, 169, 254), "instance metadata: AWS, GCP, Azure, Oracle, OpenStack, DigitalOcean, Hetzner, IBM, Exoscale, Akamai, Vultr, Huawei, Yandex", "the providers' guides to instance metadata"),
    serves(v4(169, 254, 170, 2), "AWS ECS task credentials", "Amazon ECS Developer Guide, task IAM role"),
    serves(v4(169, 254, 170, 23), "AWS EKS pod identity", "Amazon EKS User Guide, EKS Pod Identity agent"),
    serves(v4(169, 254, 169, 253), "AWS VPC resolver", "Amazon VPC User Guide, Amazon DNS server"),
    serves(v4(169, 254, 169, 123), "AWS time service", "Amazon EC2 User Guide, Amazon Time Sync Service"),
    serves(v4(169, 254, 169, 249), "AWS Windows activation", "Amazon EC2 User Guide, Windows activation"),
    serves(v4(169, 254, 169, 250), "AWS Windows activation; Rancher metadata", "Amazon EC2 User Guide, Windows activation; Rancher 1.6 metadata service"),
    serves(v4(169, 254, 169, 251), "AWS Windows activation", "Amazon EC2 User Guide, Windows activation"),
    serves(v4(169, 254, 169, 252), "GKE metadata server", "GKE documentation, Workload Identity Federation"),
    serves(v4(169, 254, 42, 42), "Scaleway metadata", "Scaleway documentation, instance metadata"),
    serves(v4(169, 254, 0, 23), "Tencent Cloud metadata", "Tencent Cloud CVM documentation, viewing instance metadata"),
    serves(v4(100, 100, 100, 200), "Alibaba Cloud metadata", "Alibaba Cloud ECS User Guide, instance metadata"),
    serves(v4(100, 96, 0, 96), "Volcengine metadata", "Volcengine ECS documentation, instance metadata"),
    serves(v4(192, 0, 0, 192), "Oracle Cloud Classic metadata", "Oracle Cloud Infrastructure Classic, instance metadata"),
    serves(v4(168, 63, 129, 16), "Azure WireServer", "Azure documentation, What is IP address 168.63.129.16"),
    serves(v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]), "Scaleway metadata", "Scaleway documentation, instance metadata"),
    serves(v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]), "AWS instance metadata", "Amazon EC2 User Guide, Retrieve instance metadata"),
    serves(v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]), "AWS EKS pod identity", "Amazon EKS User Guide, EKS Pod Identity agent"),
    serves(v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253]), "AWS VPC resolver", "Amazon VPC User Guide, Amazon DNS server"),
    serves(v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123]), "AWS time service", "Amazon EC2 User Guide, Amazon Time Sync Service"),
    serves(v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]), "GCP metadata", "Compute Engine documentation, View and query VM metadata"),
    serves(v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), "Oracle Cloud metadata", "Oracle Cloud SDKs, instance principals"),
    serves(v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]), "Akamai (Linode) metadata", "Akamai Cloud documentation, Use the Metadata service API"),
    serves(v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200]), "Alibaba Cloud metadata", "cloud-init, data source AliYun"),
    serves(v6([0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), "OpenStack and Akamai metadata", "OpenStack Neutron documentation, metadata over IPv6"),
];
