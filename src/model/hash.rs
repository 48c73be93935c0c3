//! A hash for names and marks that have to be the same tomorrow and elsewhere.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A hash that is the same in every build and on every machine.
pub fn stable_hash(parts: &[&str]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(part.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}
