"""Hosts made of network namespaces around a switch. Everything is made inside namespaces of the calling process, so nothing of
it is seen by the machine, two clusters do not meet, and the kernel takes all of it away with the last process.
"""
import ctypes
import json
import os
import pathlib
import socket
import subprocess

from emulation import delay_line
from emulation.quantities import Fault

NEWNS, NEWUTS, NEWUSER, NEWPID, NEWNET = 0x00020000, 0x04000000, 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, SIGKILL = 1, 9
LIBC = ctypes.CDLL(None, use_errno=True)


def unshare(flags):
    if LIBC.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def leave_machine():
    """From here on this process has a network and mounts of its own, and its next child is process 1 of all that follow. As
    root, or as a user where the kernel lets users have namespaces.
    """
    kinds = NEWNS | NEWUTS | NEWPID | NEWNET
    user, group = os.getuid(), os.getgid()
    try:
        unshare(kinds)
        return
    except OSError as fault:
        refused = fault
    try:
        unshare(NEWUSER)
        pathlib.Path("/proc/self/setgroups").write_text("deny")
        pathlib.Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        pathlib.Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        unshare(kinds)
    except OSError:
        raise Fault(f"no permission to make namespaces ({refused.strerror}); legal: as root with CAP_SYS_ADMIN and "
                    "CAP_NET_ADMIN, or as a user where the kernel allows user namespaces") from None


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)


def tool(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[0]
        raise Fault(f"`{' '.join(str(word) for word in words)}` failed: {said}; the machine does not allow or does not have it")
    return done.stdout


class Cluster:
    """Hosts node0, node1 ... with an address each; a link to the switch with this rate and delay."""

    def __init__(self, hosts, rate, delay, scratch):
        self.hosts, self.rate, self.delay, self.scratch = hosts, rate, delay, pathlib.Path(scratch)
        self.names = [f"node{i}" for i in range(hosts)]
        self.notes = []
        tool("mount", "--make-rprivate", "/")
        tool("mount", "-t", "proc", "proc", "/proc")
        self.name_hosts()
        tool("ip", "link", "set", "lo", "up")
        self.holders = [self.make_host(i) for i in range(hosts)]
        if hosts > 1:
            self.join_ports()

    def address(self, host):
        return f"10.0.0.{host + 1}"

    def name_hosts(self):
        """Over the machine's own /etc/hosts, for the processes in here."""
        table = self.scratch / "hosts"
        lines = ["127.0.0.1 localhost"] + [f"{self.address(i)} {name}" for i, name in enumerate(self.names)]
        table.write_text("\n".join(lines) + "\n")
        tool("mount", "--bind", table, "/etc/hosts")

    def make_host(self, host):
        """A process that holds the host's namespaces; its id."""
        ready, done = os.pipe()
        holder = os.fork()
        if holder == 0:
            try:
                unshare(NEWNET | NEWUTS)
                socket.sethostname(self.names[host])
                os.write(done, b"1")
                os.close(done)
                while True:
                    LIBC.pause()
            finally:
                os._exit(1)
        os.close(done)
        with os.fdopen(ready, "rb") as told:
            if told.read(1) != b"1":
                raise Fault("no permission to make a network namespace inside one; legal: as root with CAP_SYS_ADMIN")
        self.in_host(holder, "ip", "link", "set", "lo", "up")
        if self.hosts == 1:
            return holder
        tool("ip", "link", "add", f"port{host}", "type", "veth", "peer", "name", "eth0", "address", delay_line.mac(host),
             "netns", holder)
        self.in_host(holder, "ip", "address", "add", f"{self.address(host)}/24", "dev", "eth0")
        self.in_host(holder, "sh", "-c", "echo reno > /proc/sys/net/ipv4/tcp_congestion_control")  # every kernel has it
        self.shape(host, holder)
        self.in_host(holder, "ip", "link", "set", "eth0", "up")
        tool("ip", "link", "set", f"port{host}", "up")
        return holder

    def in_host(self, holder, *words):
        return tool(*self.entry(holder), *words)

    def entry(self, holder):
        return ["nsenter", f"--net=/proc/{holder}/ns/net", f"--uts=/proc/{holder}/ns/uts", "--"]

    def frame(self):
        """[byte] The largest piece that the sender's network card takes at once: a millisecond of the link."""
        return int(min(max(self.rate / 8 * 1e-3, 16384), 65536))

    def bucket(self):
        """tbf's words. A frame larger than the bucket would be cut up and timed packet by packet, on the ranks' cores."""
        return ["tbf", "rate", f"{int(self.rate)}bit", "burst", self.frame() * 5 // 4, "limit", 1 << 26]

    def shape(self, host, holder):
        """A link's rate holds in both directions. (Between two hosts the sender's end is enough.)"""
        if self.rate:
            self.in_host(holder, "ip", "link", "set", "eth0", "gso_max_size", self.frame())
        self.delayed_by_kernel = False
        if self.delay:
            words = ["rate", f"{int(self.rate)}bit"] if self.rate else []
            try:
                self.in_host(holder, "tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay",
                             f"{self.delay * 1e6:.0f}us", *words, "limit", 1 << 20)
                self.delayed_by_kernel = True
            except Fault:
                pass  # no netem in this kernel: delay_line
        if self.rate and not self.delayed_by_kernel:
            self.in_host(holder, "tc", "qdisc", "add", "dev", "eth0", "root", *self.bucket())
        if self.rate and self.hosts > 2:
            tool("tc", "qdisc", "add", "dev", f"port{host}", "root", *self.bucket())

    def join_ports(self):
        ports = [f"port{i}" for i in range(self.hosts)]
        if self.delay and not self.delayed_by_kernel:
            delay_line.start(ports, self.delay)
            self.notes.append("this kernel has no netem: a process keeps the delay, some percent of a core at full rate")
            return
        tool("ip", "link", "add", "switch", "type", "bridge")
        tool("ip", "link", "set", "switch", "up")
        for port in ports:
            tool("ip", "link", "set", port, "master", "switch")

    def counters(self):
        """[{name, sent_bytes, ...}] of each host's link until now. A frame is one, however many segments it stands for."""
        hosts = []
        for i, name in enumerate(self.names):
            seen = {"rx": {"bytes": 0, "packets": 0}, "tx": {"bytes": 0, "packets": 0}}
            if self.hosts > 1:
                seen = json.loads(tool("ip", "-json", "-statistics", "link", "show", f"port{i}"))[0]["stats64"]
            # What the port takes in is what the host sends.
            hosts.append({"name": name, "sent_bytes": seen["rx"]["bytes"], "sent_packets": seen["rx"]["packets"],
                          "received_bytes": seen["tx"]["bytes"], "received_packets": seen["tx"]["packets"]})
        return hosts
