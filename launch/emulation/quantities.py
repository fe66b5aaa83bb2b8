"""Rates and delays as `tc` writes them."""
import re

# Bits per second; tc's own units, in which "bps" is bytes.
RATE_UNITS = {"bit": 1, "bps": 8}
for power, (prefix, binary) in enumerate((("k", "ki"), ("m", "mi"), ("g", "gi"), ("t", "ti")), 1):
    for unit, bits in (("bit", 1), ("bps", 8)):
        RATE_UNITS[prefix + unit] = bits * 1000**power
        RATE_UNITS[binary + unit] = bits * 1024**power
DELAY_UNITS = {"s": 1, "sec": 1, "secs": 1, "ms": 1e-3, "msec": 1e-3, "msecs": 1e-3, "us": 1e-6, "usec": 1e-6,
               "usecs": 1e-6}


class Fault(Exception):
    """What is wrong, in one line with place, value and what is legal."""


def quantity(option, text, units, low, high, legal):
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", text.lower())
    if not match or match.group(2) not in units:
        raise Fault(f"{option} {text}: not a number with a unit of tc; legal: {legal}")
    value = float(match.group(1)) * units[match.group(2)]
    if not low <= value <= high:
        raise Fault(f"{option} {text}: out of range; legal: {legal}")
    return value


def rate(text):
    """Bits per second."""
    return quantity("--rate", text, RATE_UNITS, 64e3, 100e9,
                    "64kbit to 100gbit, in bit, kbit, mbit, gbit, tbit, or in bytes: bps, kbps, mbps, gbps, tbps")


def delay(text):
    """Seconds."""
    return quantity("--delay", text, DELAY_UNITS, 0, 10, "0us to 10s, in us, ms, s")


def whole(option, text, low, high):
    if not re.fullmatch(r"\d+", text) or not low <= int(text) <= high:
        raise Fault(f"{option} {text}: legal: a whole number from {low} to {high}")
    return int(text)
