"""The way out: what it reaches, and what it does not, over real connections."""

import asyncio
import datetime
import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runyard.services import outbound
from runyard.services.outbound import Outbound, OutboundError

HERE, OTHER = "127.0.0.2", "127.0.0.1"
"""Two addresses of this machine, of which only the first is open."""


class Site(ThreadingHTTPServer):
    """Answers by path, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, address: str, pages: dict[str, Callable[[BaseHTTPRequestHandler], None]]) -> None:
        self.pages, self.asked = pages, list[tuple[str, dict[str, str]]]()
        super().__init__((address, 0), Handler)
        self.port = self.server_port

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no fault."""


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.server.pages[self.path.partition("?")[0]](self)

    def log_message(self, *_: object) -> None:
        pass


def text(body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    return answer


def leads_to(place: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(302)
        to.send_header("Location", place)
        to.send_header("Content-Length", "0")
        to.end_headers()

    return answer


def drip(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    while True:
        to.wfile.write(b"x")
        time.sleep(0.05)


def drip_headers(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        to.wfile.write(b"a")
        time.sleep(0.05)


@pytest.fixture
def secret() -> Iterator[Site]:
    """What must not be reached."""
    yield from running(Site(OTHER, {"/": text(b"a secret")}))


@pytest.fixture
def site(secret: Site) -> Iterator[Site]:
    pages = {
        "/data.jsonl": text(b"rows"),
        "/on": leads_to("/data.jsonl"),
        "/inside": leads_to(f"http://{OTHER}:{secret.port}/"),
        "/decimal": leads_to(f"http://2130706433:{secret.port}/"),
        "/mapped": leads_to(f"http://[::ffff:127.0.0.1]:{secret.port}/"),
        "/six": leads_to(f"http://[::1]:{secret.port}/"),
        "/metadata": leads_to("http://169.254.169.254/latest/meta-data/"),
        "/file": leads_to("file:///etc/passwd"),
        "/gopher": leads_to("gopher://127.0.0.1/"),
        "/password": leads_to("http://me:word@files.test/"),
        "/round": leads_to("/round"),
        "/drip": drip,
        "/drip-headers": drip_headers,
        "/packed": text(gzip.compress(b"x" * 1000), Content_Encoding="gzip"),
        "/cookie": text(b"", Set_Cookie="a=b"),
        "/gone": lambda to: to.send_error(404, "nobody knows"),
    }
    yield from running(Site(HERE, pages))


def running(site: Site) -> Iterator[Site]:
    thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.shutdown()
        thread.join()
        site.server_close()


class Names:
    """A resolver whose answers are laid down, one list after the other; the last one stays."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): given for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host not in self._answers:
            return await outbound.resolve(host, port)
        given = self._answers[host]
        return given.pop(0) if len(given) > 1 else given[0]


async def fetched(url: str, names: Names | None = None, allowed: tuple[str, ...] = (HERE,)) -> bytes:
    async with Outbound(allowed, names or Names()).get(url) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_what_is_open_is_fetched_and_redirects_are_followed(site: Site) -> None:
    names = Names(files_test=[[HERE]])
    for path in ("/data.jsonl?token=1", "/on"):
        assert await fetched(f"http://files.test:{site.port}{path}", names) == b"rows"
    path, headers = site.asked[0]
    assert (path, headers["host"]) == ("/data.jsonl?token=1", f"files.test:{site.port}")
    assert headers.keys() <= {"host", "user-agent", "accept", "accept-encoding", "connection"}


@pytest.mark.parametrize("path", ["/inside", "/decimal", "/mapped", "/six", "/metadata"])
async def test_a_redirect_leads_nowhere_else(site: Site, secret: Site, path: str) -> None:
    with pytest.raises(OutboundError, match="not on the public network"):
        await fetched(f"http://{HERE}:{site.port}{path}")
    assert secret.asked == []


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/file", "begins with http"), ("/gopher", "begins with http"), ("/password", "name or password"),
        ("/round", "more than 5 times"), ("/gone", "the answer is 404"), ("/packed", "compressed"),
    ],
)  # fmt: skip
async def test_answers_that_are_none(site: Site, path: str, complaint: str) -> None:
    with pytest.raises(OutboundError, match=complaint):
        await fetched(f"http://{HERE}:{site.port}{path}")


async def test_a_name_with_one_private_address_is_not_asked_at_all(site: Site, secret: Site) -> None:
    for answers in ([HERE, OTHER], [OTHER, HERE], [HERE, "::1"]):
        with pytest.raises(OutboundError, match="not on the public network"):
            await fetched(f"http://two.test:{site.port}/data.jsonl", Names(two_test=[answers]))
    assert site.asked == secret.asked == []


async def test_a_name_that_is_pointed_elsewhere_gains_nothing(site: Site, secret: Site) -> None:
    """It is resolved once for a connection, and the connection goes to what was checked."""
    names = Names(turns_test=[[HERE], [OTHER]])
    assert await fetched(f"http://turns.test:{site.port}/data.jsonl", names) == b"rows"
    assert names.asked == ["turns.test"]

    site.pages["/again"] = leads_to(f"http://turns.test:{secret.port}/")  # a new connection, and so a new look
    names = Names(turns_test=[[HERE], [OTHER]])
    with pytest.raises(OutboundError, match="not on the public network"):
        await fetched(f"http://turns.test:{site.port}/again", names)
    assert names.asked == ["turns.test", "turns.test"]
    assert secret.asked == []


async def test_the_next_address_is_tried_where_nobody_listens(site: Site) -> None:
    names = Names(two_test=[["127.0.0.3", HERE]])
    url = f"http://two.test:{site.port}/data.jsonl"
    assert await fetched(url, names, (HERE, "127.0.0.3")) == b"rows"
    with pytest.raises(OutboundError, match="can't be read"):
        await fetched(url, Names(two_test=[["127.0.0.3"]]), (HERE, "127.0.0.3"))


@pytest.mark.parametrize("path", ["/drip", "/drip-headers"])
async def test_who_drips_is_left(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "PATIENCE_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(OutboundError, match="too slowly"):
        await fetched(f"http://{HERE}:{site.port}{path}")
    assert time.monotonic() - began < 10


async def test_no_proxy_is_taken_from_the_environment(
    site: Site, secret: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{OTHER}:{secret.port}")
    assert await fetched(f"http://{HERE}:{site.port}/data.jsonl") == b"rows"
    assert secret.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "", "data.jsonl", "/etc/passwd", "file:///etc/passwd", "ftp://files.test/a", "gopher://files.test/", "http://",
        "http:///a", "https://", "http://me@files.test/", "http://me:word@files.test/", "http://[::1", "http://\ud800/",
        "http://a\0b/", "http://files.test:99999/", "javascript:alert(1)", "http://" + "a" * 1000, "http://a..b/",
        "http://\u2488\u2488/", "http://unknown.invalid/",
    ],
)  # fmt: skip
async def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(OutboundError):
        await fetched(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "LOCALHOST.", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "[::1]", "[::]",
        "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "\u2460\u2461\u2466.0.0.1", "127\u30020\u30020\u30021",
        "\uff11\uff12\uff17.0.0.1",
    ],
)  # fmt: skip
async def test_this_machine_under_its_many_names(secret: Site, host: str) -> None:
    with pytest.raises(OutboundError):
        await fetched(f"http://{host}:{secret.port}/", allowed=())
    assert secret.asked == []


async def test_leaving_in_the_middle_leaves_nothing_open(site: Site) -> None:
    site.pages["/large"] = text(b"x" * 5_000_000)
    async with Outbound((HERE,)).get(f"http://{HERE}:{site.port}/large") as pieces:
        async for _ in pieces:
            break
    await asyncio.sleep(0)  # an open connection would be told of at the end of the test


def certificate(folder: Path, name: str) -> Path:
    """Key and certificate of a name, in one file; it is its own authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


async def test_over_https_the_name_is_asked_for_and_has_to_be_in_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(tmp_path, "files.test")
    context, asked = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), list[str | None]()
    context.load_cert_chain(pem)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    site = Site(HERE, {"/data.jsonl": text(b"rows")})
    site.socket = context.wrap_socket(site.socket, server_side=True)
    trusting = ssl.create_default_context(cafile=str(pem))
    monkeypatch.setattr(outbound, "_certificates", lambda: trusting)
    names = Names(files_test=[[HERE]], other_test=[[HERE]])
    for _ in running(site):
        assert await fetched(f"https://files.test:{site.port}/data.jsonl", names) == b"rows"
        assert site.asked[0][1]["host"] == f"files.test:{site.port}"
        with pytest.raises(OutboundError, match="can't be read"):
            await fetched(f"https://other.test:{site.port}/data.jsonl", names)
        assert asked == ["files.test", "other.test"]
        monkeypatch.undo()
        with pytest.raises(OutboundError, match="can't be read"):
            await fetched(f"https://files.test:{site.port}/data.jsonl", names)
    assert len(site.asked) == 1
