"""Clients and servers for the tests, run in namespaces: serve, probe, download, upload, stream, talk, receive, frame."""

import errno
import hashlib
import os
import selectors
import socket
import struct
import sys
import time

# A refusal that comes while connect() still holds the socket takes effect with the next SYN, after a second.
PATIENCE = 1.3
PORT_UNREACHABLE = errno.ECONNREFUSED
UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.ENETDOWN, errno.ECONNRESET}


def ready():
    print("ready", flush=True)


def serve(*ports):
    """Greets each TCP client and each UDP packet with the sender's address, then echoes; `SOURCE n` and `SINK n` move data."""
    chosen = selectors.DefaultSelector()
    for port in map(int, ports):
        listener = socket.create_server(("0.0.0.0", port), backlog=64)
        listener.setblocking(False)
        chosen.register(listener, selectors.EVENT_READ, "listener")
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("0.0.0.0", port))
        chosen.register(udp, selectors.EVENT_READ, "udp")
    ready()
    while True:
        for key, _ in chosen.select():
            try:
                serve_one(chosen, key)
            except OSError:
                if isinstance(key.data, dict):
                    chosen.unregister(key.fileobj)
                    key.fileobj.close()


def serve_one(chosen, key):
    place = key.fileobj
    if key.data == "listener":
        client, address = place.accept()
        client.sendall(f"you are {address[0]}\n".encode())
        chosen.register(client, selectors.EVENT_READ, {"left": 0, "hash": None})
    elif key.data == "udp":
        data, address = place.recvfrom(65536)
        place.sendto(f"you are {address[0]} {data.decode(errors='replace')}".encode(), address)
    else:
        data = place.recv(1 << 20)
        if not data:
            chosen.unregister(place)
            place.close()
        else:
            answer(place, key.data, data)


def answer(client, state, data):
    if not state["left"] and data.startswith(b"SOURCE "):
        size = int(data.split()[1])
        block = bytes(range(256)) * 256
        whole = (block * (size // len(block) + 1))[:size]
        client.setblocking(True)
        client.sendall(whole)
        return
    if not state["left"] and data.startswith(b"SINK "):
        head, _, data = data.partition(b"\n")
        state["left"], state["hash"] = int(head.split()[1]), hashlib.sha256()
    if state["left"]:
        state["hash"].update(data)
        state["left"] -= len(data)
        if state["left"] <= 0:
            client.sendall(state["hash"].hexdigest().encode() + b"\n")
        return
    client.sendall(data)


def probe(*targets):
    """Tries all targets at once; prints what came of each, in their order."""
    tries = [begin(target) for target in targets]
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and any(t["result"] is None for t in tries):
        waiting = [t for t in tries if t["result"] is None]
        chosen = selectors.DefaultSelector()
        for t in waiting:
            chosen.register(t["socket"], selectors.EVENT_READ, t)
        for key, _ in chosen.select(deadline - time.monotonic()):
            step(key.data)
    for t in tries:
        print(t["result"] or "timeout")


def begin(target):
    kind, address, *port = target.split(":")
    t = {"result": None, "socket": None}
    try:
        if kind == "tcp":
            t["socket"] = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            t["socket"].setblocking(False)
            code = t["socket"].connect_ex((address, int(port[0])))
            # An ICMP error that comes while connect() still holds the socket is kept as a soft error, and ends the
            # connection only with the SYN's repetition, a second later: `tcp_v4_err` in the kernel's net/ipv4/tcp_ipv4.c.
            code = t["socket"].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or code
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
        elif kind == "udp":
            t["socket"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            t["socket"].setblocking(False)
            t["socket"].connect((address, int(port[0])))
            t["socket"].send(b"hello")
        else:
            protocol = socket.IPPROTO_ICMP
            t["socket"] = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
            t["socket"].setblocking(False)
            t["socket"].setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
            t["socket"].connect((address, 0))
            t["socket"].send(echo_request(os.getpid() & 0xFFFF))
    except OSError as error:
        t["result"] = named(error)
    return t


def echo_request(ident):
    body = struct.pack("!BBHHH", 8, 0, 0, ident, 1) + b"x" * 32
    return struct.pack("!BBHHH", 8, 0, checksum(body), ident, 1) + b"x" * 32


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def step(t):
    try:
        data = t["socket"].recv(65536)
    except BlockingIOError:
        return
    except OSError as error:
        t["result"] = named(error)
        return
    if t["socket"].type == socket.SOCK_RAW:
        if data[20] == 0:
            t["result"] = "open"
        return
    t["result"] = "open " + data.decode(errors="replace").strip().removeprefix("you are ")


def named(error):
    if error.errno == PORT_UNREACHABLE:
        return "refused"
    if error.errno in UNREACHABLE:
        return "unreachable"
    return f"error {error}"


def connected(address, port):
    client = socket.create_connection((address, int(port)), timeout=10)
    read_line(client)
    return client


def read_line(client):
    line = b""
    while not line.endswith(b"\n"):
        byte = client.recv(1)
        if not byte:
            break
        line += byte
    return line.decode()


def download(address, port, size):
    """Prints `ok` if as many bytes arrive as were asked for, unharmed."""
    client = connected(address, port)
    client.sendall(f"SOURCE {size}\n".encode())
    left, block, at = int(size), bytes(range(256)) * 256, 0
    while left:
        data = client.recv(min(left, 65536 - at))
        assert data, f"{left} bytes are missing"
        assert data == block[at : at + len(data)], "the data came harmed"
        left, at = left - len(data), (at + len(data)) % 65536
    print("ok")


def upload(address, port, size):
    """Prints `ok` if what was sent arrives unharmed."""
    client = connected(address, port)
    data = os.urandom(int(size))
    client.sendall(f"SINK {size}\n".encode() + data)
    assert read_line(client).strip() == hashlib.sha256(data).hexdigest(), "the data came harmed"
    print("ok")


def stream(kind, address, port):
    """Sends a number every 10 ms over one connection and prints each that comes back."""
    server = (address, int(port))
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    client.connect(server)
    client.setblocking(False)
    ready()
    number = 0
    while True:
        number += 1
        try:
            client.send(f"{number}\n".encode())
        except OSError as error:
            print(f"send: {error.strerror}", flush=True)
        time.sleep(0.01)
        try:
            data = client.recv(65536)
            if not data:
                print("closed", flush=True)
                return
            print(data.decode().strip().replace("\n", " "), flush=True)
        except BlockingIOError:
            pass
        except OSError as error:
            print(f"receive: {error.strerror}", flush=True)


def receive(*words):
    """Prints the source and the text of each UDP packet that comes in, on any port, as seen on an interface; 50 at most."""
    interface = words[0] if words else "eth0"
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    raw.bind((interface, 0))
    ready()
    while True:
        data, address = raw.recvfrom(65536)
        if address[2] != 4:  # not what this host sends itself
            print(describe(data), flush=True)


def describe(frame):
    source, kind = frame[6:12].hex(":"), struct.unpack("!H", frame[12:14])[0]
    if kind == 0x0806:
        return f"arp from {source} about {socket.inet_ntoa(frame[28:32])}"
    if kind == 0x86DD:
        return f"ipv6 from {source}"
    if kind != 0x0800:
        return f"{kind:#06x} from {source}"
    addresses = f"{socket.inet_ntoa(frame[26:30])} to {socket.inet_ntoa(frame[30:34])}"
    names = {1: "icmp", 6: "tcp", 17: "udp"}
    return f"{names.get(frame[23], frame[23])} {addresses} {frame[14 + (frame[14] & 15) * 4:].hex()}"


def frame(interface, to_mac, from_mac, *packet):
    """Sends an Ethernet frame as it is: `ip SOURCE DESTINATION [PROTOCOL]`, `arp SENDER-MAC SENDER TARGET`, `ra PREFIX`."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind((interface, 0))
    own = raw.getsockname()[4]
    sender = own if from_mac == "own" else bytes.fromhex(from_mac.replace(":", ""))
    kind, payload = build(packet, own)
    header = bytes.fromhex(to_mac.replace(":", "")) + sender + struct.pack("!H", kind)
    for _ in range(3):
        raw.send(header + payload)


def build(packet, own):
    what, *words = packet
    if what == "ra":
        return 0x86DD, router_advertisement(words[0])
    if what == "arp":
        mac = own if words[0] == "own" else bytes.fromhex(words[0].replace(":", ""))
        sender, target = socket.inet_aton(words[1]), socket.inet_aton(words[2])
        return 0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + mac + sender + b"\xff" * 6 + target
    protocol = words[2] if len(words) > 2 else "udp"
    source, destination = socket.inet_aton(words[0]), socket.inet_aton(words[1])
    text = f"spoofed {words[0]}".encode()
    if protocol == "udp":
        number, body = 17, struct.pack("!HHHH", 4000, 4000, 8 + len(text), 0) + text
    elif protocol == "icmp":
        number, body = 1, echo_request(77)
    else:
        number, body = int(protocol), text
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0, 64, number, 0) + source + destination
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return 0x0800, head + body


def router_advertisement(prefix):
    source, destination = socket.inet_pton(socket.AF_INET6, "fe80::bad"), socket.inet_pton(socket.AF_INET6, "ff02::1")
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, prefix)
    pseudo = source + destination + struct.pack("!II", 16 + len(option), 58)
    head, tail = struct.pack("!BB", 134, 0), struct.pack("!BBHII", 64, 0, 1800, 0, 0) + option
    body = head + struct.pack("!H", checksum(pseudo + head + b"\0\0" + tail)) + tail
    return struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + source + destination + body


if __name__ == "__main__":
    commands = [serve, probe, download, upload, stream, receive, frame]
    {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])
