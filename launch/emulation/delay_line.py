"""A switch that holds every frame for a fixed time: stands in for the kernel's netem where that is not built in.

Frames are taken off each port as the sender's kernel made them (one of up to 64 KiB for many segments, checksum not yet
filled in: PACKET_VNET_HDR) and handed on the same way, so a gigabit is a few thousand frames a second.
"""
import collections
import ctypes
import os
import select
import socket
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
VIRTIO_HEADER = 10
PR_SET_TIMERSLACK = 29


def open_port(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for option, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            port.setsockopt(socket.SOL_SOCKET, option, 64 << 20)
        except PermissionError:  # a user's own namespace: the kernel's limit holds
            port.setsockopt(socket.SOL_SOCKET, plain, 64 << 20)
    port.bind((name, ETH_P_ALL))
    port.setblocking(False)
    return port


def targets(frame, source, ports):
    """By the last byte of the address that mac() gave; frames to all go to all others."""
    address = frame[VIRTIO_HEADER:VIRTIO_HEADER + 6]
    if address[0] & 1:
        return [port for port in ports if port is not source]
    return [ports[address[5]]] if address[5] < len(ports) else []


def mac(host):
    return f"02:00:00:00:00:{host:02x}"


def run(names, seconds):
    """Forever, between the ports of these names; port i belongs to the host of address mac(i)."""
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0)  # nanoseconds; 50 us otherwise
    ports = [open_port(name) for name in names]
    waiting = collections.deque()  # the delay is one for all, so the oldest is always due first
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for port in select.select(ports, [], [], left)[0]:
            while True:
                try:
                    frame = port.recv(1 << 17)
                except BlockingIOError:
                    break
                waiting.append((time.monotonic() + seconds, frame, port))
        while waiting and waiting[0][0] <= time.monotonic():
            _, frame, source = waiting.popleft()
            for port in targets(frame, source, ports):
                try:
                    port.send(frame)
                except (BlockingIOError, OSError):
                    pass  # a full queue drops, as a switch does; TCP sends again


def start(names, seconds):
    """In a process of its own; its id."""
    child = os.fork()
    if child == 0:
        try:
            run(names, seconds)
        finally:
            os._exit(1)
    return child
