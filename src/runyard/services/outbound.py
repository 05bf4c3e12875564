"""Requests to addresses that users name: they reach the public network, and nothing else unless it was opened.

A name is resolved where the connection is made, all of its addresses are checked, and the connection goes to one of
those that were checked: a name that is pointed elsewhere a moment later gains nothing. So it is for each redirect.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore
import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a name. Raises OSError."""

MOST_REDIRECTS = 5
CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
PATIENCE_SECONDS = 30.0
SLOWEST = 10_000
"""Bytes a second that have to come, all in all, once the patience is used up."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
BESIDES = [ipaddress.ip_network(text) for text in ("fec0::/10", "3fff::/20", "192.88.99.0/24")]
"""Not public either: the library takes them for it."""
logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write down whole addresses, which may be secrets
HEADERS = {"User-Agent": "runyard", "Accept": "*/*", "Accept-Encoding": "identity"}


class OutboundError(Exception):
    """The message says what is wrong with the address, or with what answers there."""


async def resolve(host: str, port: int) -> list[str]:
    """By the system, which also reads numbers as addresses, whatever their spelling."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@dataclass(frozen=True)
class Answer:
    """`retry_after` is in seconds, where the answer says so."""

    code: int
    retry_after: float | None = None


@dataclass(frozen=True)
class Outbound:
    """The way out. `allowed` opens names, addresses and networks (such as 10.0.0.0/8) that are not public."""

    allowed: tuple[str, ...] = ()
    resolver: Resolver = resolve

    @asynccontextmanager
    async def get(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of an answer as it comes, redirects followed. It comes steadily, or not at all.

        Raises OutboundError.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS) as patience, self.client() as client:
                response = await self._follow(client, url)
                try:
                    yield _pieces(response, patience)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise OutboundError("answers too slowly") from None
        except httpx.TimeoutException:
            raise OutboundError("does not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise OutboundError(f"can't be read: {_cause(error)}") from None

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Only how the answer begins; a redirect is not followed. Raises OutboundError."""
        try:
            async with self.client() as client:
                request = client.build_request("POST", checked(url), content=content, headers=dict(headers))
                response = await client.send(request, stream=True)
                await response.aclose()
        except httpx.TimeoutException:
            raise OutboundError("does not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise OutboundError(f"can't be reached: {_cause(error)}") from None
        return Answer(response.status_code, _seconds(response.headers.get("retry-after", "")))

    def client(self) -> httpx.AsyncClient:
        """For requests of other kinds: it connects to nothing else either, and follows no redirect by itself."""
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        return httpx.AsyncClient(transport=_Transport(self), timeout=timeout, trust_env=False, headers=HEADERS)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where a connection may go. Raises OutboundError when one of the addresses of the host is out of bounds."""
        try:
            found = await self.resolver(host, port)
        except (OSError, UnicodeError):
            raise OutboundError(f"there is no host {host[:100]!r}") from None
        if not found:
            raise OutboundError(f"there is no host {host[:100]!r}")
        if not self.is_named(host) and not all(map(self.may_reach, found)):
            raise OutboundError(
                f"{host[:100]!r} is not on the public network: RUNYARD_OUTBOUND_HOSTS opens what an operator names"
            )
        return found

    def is_named(self, host: str) -> bool:
        """Is it opened by its name, wherever that leads?"""
        return host.lower().rstrip(".") in {name.lower() for name in self.allowed}

    def may_reach(self, text: str) -> bool:
        """Is this address public, or opened?"""
        address = _unwrapped(ipaddress.ip_address(text.partition("%")[0]))  # the rest names an interface
        return is_public(address) or any(address in network for network in _networks(self.allowed))

    async def _follow(self, client: httpx.AsyncClient, url: str) -> httpx.Response:
        for _ in range(MOST_REDIRECTS + 1):
            request = client.build_request("GET", checked(url))
            response = await client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            await response.aclose()
            url = str(request.url.join(response.headers["location"]))
        raise OutboundError(f"leads on more than {MOST_REDIRECTS} times")


def is_public(address: Address) -> bool:
    """Does everybody reach the same machine by it?"""
    address = _unwrapped(address)
    is_special = address.is_multicast or address.is_reserved or any(address in network for network in BESIDES)
    return address.is_global and not is_special


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def checked(url: str) -> httpx.URL:
    """Raises OutboundError for what is no address of a web server, or holds a password."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):  # half a character is none
        raise OutboundError("is no address") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise OutboundError("must be an address that begins with http:// or https://")
    if parsed.userinfo:
        raise OutboundError("must not hold a name or password")
    return parsed


async def _pieces(response: httpx.Response, patience: asyncio.Timeout) -> AsyncIterator[bytes]:
    if response.status_code != httpx.codes.OK:
        raise OutboundError(f"the answer is {response.status_code} {response.reason_phrase[:100]}".rstrip())
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise OutboundError("sends its answer compressed, though it was asked not to")
    began, received = patience.when() or 0.0, 0
    async for piece in response.aiter_raw():
        received += len(piece)
        patience.reschedule(began + received / SLOWEST)
        yield piece


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() else None


def _cause(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]


@cache
def _networks(allowed: tuple[str, ...]) -> list[Any]:
    networks = []
    for text in allowed:
        try:
            networks.append(ipaddress.ip_network(text.strip("[]"), strict=False))
        except ValueError:
            continue  # a name
    return networks


@cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


class _Transport(httpx.AsyncHTTPTransport):
    """The library's own, but for how it connects. Certificates are checked for the name, as ever."""

    def __init__(self, outbound: Outbound) -> None:
        super().__init__(verify=_certificates(), trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(ssl_context=_certificates(), network_backend=_Backend(outbound))


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *options: Any, **more: Any) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in await self._outbound.addresses(host, port):
            try:
                return await self._network.connect_tcp(address, port, *options, **more)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)
