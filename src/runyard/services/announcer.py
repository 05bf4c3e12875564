"""A program that sends one message through Apprise: Apprise's only home. `python -m runyard.services.announcer`

It reads an order from standard input and writes what became of it to standard output, both as JSON. What Apprise
connects to is up to whoever wrote the address, so every connection of this process is looked at where it is made,
whatever library makes it: after names are resolved, after redirects. It starts no other program, and sends nothing but
by TCP, and opens no file but those of Python itself.
"""

import ipaddress
import json
import logging
import os
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import apprise

from runyard.domain.masks import Mask
from runyard.services.outbound import Outbound

KNOWN = """
mailto mailtos slack discord tgram msteams workflow workflows gchat ntfy ntfys gotify gotifys mmost mmosts rocket
rockets matrix matrixs zulip webex wxteams pover pbul prowl pagerduty opsgenie twilio sendgrid mailgun brevo resend
postmark signal signals line lark feishu dingtalk wecombot ryver flock twist guilded revolt synology synologys nctalk
nctalks hassio hassios bark barks join simplepush squadcast victorops betterstack ilert incidentio
"""
SERVICES = frozenset(KNOWN.split())
"""Those that send nothing but the message, by https or e-mail, and read no file of this machine."""
REFUSED_OPTIONS = frozenset({"verify", "pgp", "pgpkey", "keyfile", "redirect", "retry", "wait", "template", "include"})
FORBIDDEN = frozenset(
    {"socket.sendto", "socket.sendmsg", "socket.bind", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}
    | {"os.fork", "os.forkpty", "os.spawn", "pty.spawn", "os.remove", "os.rename", "os.mkdir", "shutil.rmtree"}
)
READABLE = ("/etc/ssl", "/etc/pki", "/etc/mime.types", "/usr/share", "/usr/lib", "/dev/null", "/dev/urandom")
OPTION = re.compile(r"[?&]([^=&?]*)")
"""Apprise finds them behind a #, too."""
NICENESS = 10
TOKEN = re.compile(r"[\w.+-]{6,}")
NOT_REACHED = (
    "it leads to an address that is not on the public network: RUNYARD_OUTBOUND_HOSTS opens what operators name"
)


class Guard:
    """An audit hook: what it refuses can't be done by this process any more, nor can the hook be taken away."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._opened: set[str] = set()
        self._is_asking = False
        self.refused = False
        self._readable = [
            Path(folder).resolve() for folder in (*sys.path, sys.prefix, sys.base_prefix, *READABLE) if folder
        ]

    def __call__(self, event: str, details: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo" and not self._is_asking:
            self._note(details[0])
        elif event == "socket.connect":
            self._look(details[0], details[1])
        elif event == "open":
            self._open(details[0])
        elif event in FORBIDDEN:
            self._refuse()

    def _note(self, host: str | bytes | None) -> None:
        """Where a name leads that an operator has opened may be reached."""
        name = host.decode(errors="replace") if isinstance(host, bytes) else host or ""
        if not self._outbound.is_named(name):
            return
        self._is_asking = True
        with suppress(OSError, UnicodeError):
            self._opened |= {str(address[0]) for *_, address in socket.getaddrinfo(name, None)}
        self._is_asking = False

    def _look(self, connection: socket.socket, address: Any) -> None:
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            self._refuse()
        host = str(address[0])
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            self._refuse()  # a name would be resolved behind our back
        if host not in self._opened and not self._outbound.may_reach(host):
            self._refuse()

    def _open(self, path: Any) -> None:
        """An option of an address may name a file, such as a key or a template."""
        if isinstance(path, int):
            return  # it is open already
        file = Path(os.fsdecode(path)).resolve()
        if not any(file.is_relative_to(folder) for folder in self._readable):
            self._refuse()

    def _refuse(self) -> None:
        self.refused = True
        raise PermissionError(NOT_REACHED)


class Words(logging.Handler):
    """What Apprise has to say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def check(url: str) -> str | None:
    """What is wrong with an address."""
    scheme = url.partition("://")[0].lower()
    if scheme not in SERVICES:
        return f"{scheme[:30]!r} can't be used here; what can: {', '.join(sorted(SERVICES))}"
    options = {unquote(name).strip().lower() for name in OPTION.findall(url)}
    if refused := options & REFUSED_OPTIONS:
        return f"may not have the option {', '.join(sorted(refused))}"
    return None


def run(order: dict[str, Any]) -> dict[str, Any]:
    """The `service`, and `error` when something is wrong; sent unless the order has no `title`."""
    url, guard, words = order["url"], Guard(Outbound(tuple(order["allowed"]))), Words()
    if problem := check(url):
        return {"service": None, "error": problem}
    logger = logging.getLogger("apprise")
    logger.addHandler(words)
    logger.propagate = False
    asset = apprise.AppriseAsset(
        app_id="Runyard", app_desc="Runyard", app_url="", image_url_mask="", image_url_logo="", async_mode=False,
        http_redirects=False, storage_mode="memory", pgp_autogen=False,
    )  # fmt: skip
    target = apprise.Apprise.instantiate(url, asset=asset)
    if target is None or not target.verify_certificate:
        return {"service": None, "error": "is not in the form that this service has"}
    service = str(target.service_name)
    if "title" not in order:
        return {"service": service, "error": None}
    sys.addaudithook(guard)
    is_sent = target.notify(body=order["body"], title=order["title"], notify_type=order["mood"], body_format="text")
    if is_sent:
        return {"service": service, "error": None}
    said = NOT_REACHED if guard.refused else "; ".join(words.said[-2:]) or "it was not taken"
    return {"service": service, "error": Mask.of(TOKEN.findall(url)).hide_text(said)[:500]}


def main() -> None:
    os.nice(NICENESS)  # trainers and the server go first
    json.dump(run(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
