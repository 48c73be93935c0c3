"""Flows of every kind for the tests, and exact counts: flood, sink, source, push, pull, idle, connect. A signal TERM ends what goes on."""

import errno
import selectors
import signal
import socket
import sys
import time

from peer import ready

PACE = 0.01
END = b"end "
going = True


def stop(*_):
    global going
    going = False


def flood(address, port, pause="0.002"):
    """Numbered UDP packets until TERM; the last ones say how many there were."""
    signal.signal(signal.SIGTERM, stop)
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect((address, int(port)))
    ready()
    sent = 0
    while going:
        sent += 1
        out.send(str(sent).encode())
        time.sleep(float(pause))
    print(f"sent {sent}", flush=True)
    for _ in range(3):
        out.send(END + str(sent).encode())


def count(port):
    """Counts the packets of a flood, each once: prints `RECEIVED of SENT` at its end."""
    place = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    place.bind(("0.0.0.0", int(port)))
    ready()
    seen = set()
    while True:
        data = place.recv(64)
        if data.startswith(END):
            print(f"{len(seen)} of {data[len(END):].decode()}", flush=True)
        else:
            seen.add(data)


def connect(address, port):
    """Opens connection after connection until TERM; prints how many, and how many lost a packet: a SYN is sent again after a second."""
    signal.signal(signal.SIGTERM, stop)
    ready()
    opened = slow = 0
    while going:
        begun = time.monotonic()
        with socket.create_connection((address, int(port)), timeout=5) as client:
            client.recv(64)
        took = time.monotonic() - begun
        time.sleep(PACE / 2)
        opened, slow = opened + 1, slow + (took > 0.8)
    print(f"opened {opened} slow {slow}", flush=True)


def knock(address, port):
    """Tries to open connections until TERM, one every 10 ms; prints how many were answered."""
    signal.signal(signal.SIGTERM, stop)
    ready()
    tries = []
    while going:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.setblocking(False)
        client.connect_ex((address, int(port)))
        tries.append(client)
        time.sleep(PACE)
    print(f"knocked {len(tries)} answered {sum(answered(client) for client in tries)}", flush=True)


def answered(client):
    code = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    try:
        client.getpeername()
        return True
    except OSError:
        return code in (errno.ECONNREFUSED, errno.ECONNRESET)


def serve(first):
    """On port `first` prints the numbers that come, by TCP and UDP, and never answers; on the next sends numbers, and never listens."""
    first = int(first)
    chosen = selectors.DefaultSelector()
    for port, role in [(first, "sink"), (first + 1, "source")]:
        listener = socket.create_server(("0.0.0.0", port))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("0.0.0.0", port))
        chosen.register(listener, selectors.EVENT_READ, f"{role} listener")
        chosen.register(udp, selectors.EVENT_READ, f"{role} udp")
    ready()
    receivers, number = [], 0
    while True:
        for key, _ in chosen.select(PACE):
            served(chosen, key, receivers)
        number += 1
        for send in receivers:
            try:
                send(f"{number}\n".encode())
            except OSError:
                pass


def served(chosen, key, receivers):
    place = key.fileobj
    if key.data == "sink listener":
        chosen.register(place.accept()[0], selectors.EVENT_READ, "sink client")
    elif key.data == "source listener":
        client = place.accept()[0]
        client.setblocking(False)
        receivers.append(client.send)
    elif key.data == "source udp":
        address = place.recvfrom(64)[1]
        receivers.append(lambda data: place.sendto(data, address))
    else:
        try:
            data = place.recv(65536)
        except OSError:
            data = b""
        if data:
            print(data.split()[-1].decode(), flush=True)
        elif key.data == "sink client":
            chosen.unregister(place)


def opened(kind, address, port):
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    client.connect((address, int(port)))
    return client


def push(kind, address, port):
    """Sends a number every 10 ms and expects nothing."""
    client = opened(kind, address, port)
    client.setblocking(False)
    ready()
    for number in range(1, 1 << 30):
        try:
            client.send(f"{number}\n".encode())
        except OSError:
            pass
        time.sleep(PACE)


def pull(kind, address, port):
    """Prints what comes; says nothing itself but that it is there."""
    client = opened(kind, address, port)
    if kind == "udp":
        client.send(b"hello")
    ready()
    while True:
        try:
            data = client.recv(65536)
        except OSError as error:
            print(f"receive: {error.strerror}", flush=True)
            continue
        if not data:
            return
        print(data.split()[-1].decode(), flush=True)


def idle(address, port):
    """Opens a connection to an echo server, and uses it when told to by USR1."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    client = socket.create_connection((address, int(port)), timeout=5)
    client.recv(64)
    ready()
    signal.sigwait({signal.SIGUSR1})
    client.settimeout(0.7)
    try:
        client.send(b"still there?")
        print("answer" if client.recv(64) else "closed", flush=True)
    except OSError:
        print("nothing", flush=True)


if __name__ == "__main__":
    commands = [flood, count, connect, knock, serve, push, pull, idle]
    {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])
