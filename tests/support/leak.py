"""Tries what must be closed, once, from several namespaces at the same time.

Arguments: NETNS CONTROL TARGET... for each namespace, with `--` between them. Each address gets a ping and a UDP packet to a
port where nobody listens: an answer by the address itself says that it was reached. Prints `control NETNS` where the control
answers, `open NETNS ADDRESS` where something else does. A namespace that is not there can't reach anything.
"""

import ctypes
import select
import socket
import struct
import sys
import time

# An answer within one kernel comes in a millisecond; a loaded machine needs some more.
PATIENCE = 0.03
CLOSED_PORT = 9


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def send(netns, targets, libc):
    """A socket in the namespace by which answers to what was sent come; none where it is gone."""
    try:
        with open(f"/run/netns/{netns}", "rb") as place:
            if libc.setns(place.fileno(), 0x40000000):  # CLONE_NEWNET
                return None
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return None
    body = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + b"x" * 32
    echo = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    for target in targets:
        for place, data, port in ((raw, echo, 0), (udp, b"x", CLOSED_PORT)):
            try:
                place.sendto(data, (target, port))
            except OSError:
                pass
    return raw


def answers(raw):
    """The addresses that answered: an echo reply, or that the port is closed."""
    found = set()
    while True:
        try:
            data, (address, _) = raw.recvfrom(4096)
        except OSError:
            return found
        kind = data[20:22]
        if kind[:1] == b"\0" or kind == b"\3\3":
            found.add(address)


def main(words):
    libc = ctypes.CDLL(None, use_errno=True)
    watched = []
    for line in " ".join(words).split(" -- "):
        netns, *targets = line.split()
        raw = send(netns, targets, libc)
        if raw:
            watched.append((netns, targets, raw, set()))
    deadline = time.monotonic() + PATIENCE
    while (left := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([raw for _, _, raw, _ in watched], [], [], left)
        for _, _, raw, found in watched:
            if raw in readable:
                found |= answers(raw)
    for netns, (control, *targets), _, found in watched:
        if control in found:
            print("control", netns)
        for target in targets:
            if target in found:
                print("open", netns, target)


main(sys.argv[1:])
