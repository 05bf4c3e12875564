"""Which addresses are everybody's, in whatever way they are written."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runyard.services.outbound import Outbound, OutboundError, is_public

PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.88.99.1",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378::1", "fe80::1", "fec0::1", "fc00::1",
    "fd00:ec2::254", "ff02::1", "ff0e::1", "100::1", "2001:db8::1", "3fff::1",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
SPELLINGS = ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.0.0.1", "017700000001", "127.0.1", "0", "0x0"]


@pytest.mark.parametrize("text", PRIVATE)
def test_what_is_not_everybodys(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
def test_an_address_in_an_address_is_judged_as_itself(inner: ipaddress.IPv4Address) -> None:
    for wrapped in (f"::ffff:{inner}", f"64:ff9b::{inner}"):
        assert is_public(ipaddress.ip_address(wrapped)) == is_public(inner)
    assert is_public(ipaddress.IPv6Address(0x2002 << 112 | int(inner) << 80)) == is_public(inner)


@pytest.mark.parametrize("host", SPELLINGS)
async def test_a_number_is_read_as_the_system_reads_it(host: str) -> None:
    assert socket.inet_aton(host), "it is one of the system's spellings"
    with pytest.raises(OutboundError, match="not on the public network"):
        await Outbound().addresses(host, 80)


async def test_all_addresses_of_a_name_have_to_be_public() -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return {"good.test": ["8.8.8.8", "1.1.1.1"], "half.test": ["8.8.8.8", "10.0.0.1"], "none.test": []}[host]

    assert await Outbound(resolver=resolver).addresses("good.test", 80) == ["8.8.8.8", "1.1.1.1"]
    for host in ("half.test", "none.test"):
        with pytest.raises(OutboundError):
            await Outbound(resolver=resolver).addresses(host, 80)


@pytest.mark.parametrize(
    ("allowed", "host", "is_open"),
    [
        (("files.test",), "files.test", True),
        (("Files.TEST",), "FILES.test.", True),
        (("files.test",), "other.test", False),
        (("10.0.0.0/8",), "files.test", True),
        (("10.0.0.5",), "files.test", True),
        (("10.0.0.6",), "files.test", False),
        (("fd00::/8", "192.168.0.0/16"), "files.test", False),
        (("test",), "files.test", False),
    ],
)
async def test_what_an_operator_opens(allowed: tuple[str, ...], host: str, is_open: bool) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["10.0.0.5"]

    outbound = Outbound(allowed, resolver)
    if is_open:
        assert await outbound.addresses(host, 80) == ["10.0.0.5"]
    else:
        with pytest.raises(OutboundError):
            await outbound.addresses(host, 80)
