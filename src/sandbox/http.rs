//! What the sandbox's internet answers over HTTP/1.1: one line that says who talks to whom, which shows NAT at work.
//!
//! Own code and not a crate: it says the same to every request, so all that it reads is where a request ends and
//! whether it is a HEAD; the smallest well-kept HTTP server would bring a dozen crates for that.

use std::net::IpAddr;

/// Whether `request` holds all of a request's head.
pub fn is_whole(request: &[u8]) -> bool {
    // Alone a line feed is accepted too (RFC 9112, 2.2): people type requests into `nc`.
    request.windows(4).any(|bytes| bytes == b"\r\n\r\n") || request.windows(2).any(|bytes| bytes == b"\n\n")
}

/// The answer to `request`, received at address `here` from `peer`.
pub fn response(request: &[u8], here: IpAddr, peer: IpAddr) -> Vec<u8> {
    let body = format!("hello from the sandbox's internet, {here}; you are {peer}\n");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let body = if request.starts_with(b"HEAD ") { "" } else { &body };
    [head.as_bytes(), body.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &[u8]) -> String {
        let (here, peer) = ([203, 0, 113, 10].into(), [198, 51, 100, 10].into());
        String::from_utf8(response(request, here, peer)).unwrap()
    }

    #[test]
    fn the_answer_names_both_ends() {
        let answer = text(b"GET / HTTP/1.1\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "hello from the sandbox's internet, 203.0.113.10; you are 198.51.100.10\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    }

    #[test]
    fn head_gets_the_same_head_and_no_body() {
        let (get, head) = (text(b"GET / HTTP/1.1\r\n\r\n"), text(b"HEAD / HTTP/1.1\r\n\r\n"));
        assert!(head.ends_with("\r\n\r\n") && get.starts_with(&head));
    }

    #[test]
    fn a_request_is_whole_at_its_empty_line() {
        assert!(!is_whole(b"GET / HTTP/1.1\r\nHost: a\r\n"));
        assert!(is_whole(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(is_whole(b"GET /\n\n"));
    }
}
