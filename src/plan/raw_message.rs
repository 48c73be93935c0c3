//! Netlink's messages as bytes, for lists in which anybody may have put anything: none fails to be read.

use std::convert::Infallible;

use netlink_packet_core::{
    NLA_HEADER_SIZE, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlaBuffer, NlasIterator,
};

/// A message, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// Its type.
    pub kind: u16,
    /// All behind the header of netlink.
    pub bytes: Vec<u8>,
}

impl NetlinkSerializable for RawMessage {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl NetlinkDeserializable for RawMessage {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(RawMessage { kind: header.message_type, bytes: payload.to_vec() })
    }
}

/// The value of the first attribute of this kind in a list.
pub fn first(list: &[u8], kind: u16) -> Option<&[u8]> {
    NlasIterator::new(list).filter_map(Result::ok).find(|attribute| attribute.kind() == kind).and_then(value)
}

/// An attribute's value.
pub fn value(attribute: NlaBuffer<&[u8]>) -> Option<&[u8]> {
    let length = attribute.length().into();
    attribute.into_inner().get(NLA_HEADER_SIZE..length)
}

/// A value that is a string.
pub fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.strip_suffix(&[0])?).ok()
}
