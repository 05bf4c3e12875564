"""The first account, made by whoever has the link that the server has printed."""

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from runyard.db.database import Session
from runyard.db.queries import access
from runyard.domain.access import LOCAL, Role
from runyard.domain.errors import NotFoundError, NotSignedInError, TooManyRequestsError
from runyard.domain.throttle import Patience
from runyard.schemas.people import FirstUser, SessionRead, UserNew
from runyard.server import people
from runyard.server.api import failing, session
from runyard.server.deps import ForAnybody, Yard
from runyard.server.gate import client_address
from runyard.server.setting_up import SettingUp
from runyard.services import accounts, audit

router = APIRouter(prefix="/setup", tags=["people"])

OF_ADDRESS = Patience(free=5)
WRONG = "the link is another server's, or older than an hour"


@router.post("", status_code=201, operation_id="set_up", responses=failing(400, 404, 409, 413, 415))
async def set_up(yard: ForAnybody, request: Request, response: Response, ask: FirstUser) -> SessionRead:
    """Make the first account, an admin and operator, and begin its session: with the word of the link that `runyard
    serve --setup` prints, which is good for one account and one hour. Later there is nothing here."""
    setting_up = await _under_way(yard)
    address = client_address(request)
    try:
        _require_word(yard, setting_up, ask.token, address)
    except (NotSignedInError, TooManyRequestsError) as error:
        await yard.note_refusal(request, error.code)
        raise
    new = UserNew(name=ask.name, password=ask.password, role=Role.ADMIN, operator=True)
    asked = await people.wanted(new)
    with setting_up.taken() as is_first:
        if not is_first:
            raise _nothing_here()
        async with yard.database.write() as rows:
            await _require_nobody(rows)
            details = {"where": "by the set-up link"}
            made = await people.create(rows, LOCAL, new, asked, yard.clock(), details)
            await audit.note(rows, replace(LOCAL, address=address), "set_up", yard.clock(), made.name, details)
            found, token = await people.enter(rows, made.name, address, yard.clock())
    yard.gate.forget()
    yard.wake("access")
    return session.let_in(yard, request, response, found, token)


async def _under_way(yard: Yard) -> SettingUp:
    async with yard.database.read() as rows:
        if yard.setting_up is None or await accounts.exist(rows):
            raise _nothing_here()
    return yard.setting_up


def _require_word(yard: Yard, setting_up: SettingUp, word: str, address: str) -> None:
    """Raise NotSignedInError, or TooManyRequestsError after many wrong ones."""
    failures, now = yard.gate.failures, yard.clock()
    tried = [(("set up", address), OF_ADDRESS)]
    if wait := failures.wait(tried, now):
        raise TooManyRequestsError("too many wrong words", wait, hint="wait, then try again")
    if not setting_up.fits(word, now):
        failures.failed(tried, now)
        raise NotSignedInError(WRONG, hint="start the server with --setup again: it prints another")


async def _require_nobody(rows: Session) -> None:
    """Of servers that share a database one alone makes the first: the others wait here until it is made."""
    await access.changed(rows)
    if await accounts.exist(rows):
        raise _nothing_here()


def _nothing_here() -> NotFoundError:
    return NotFoundError("there is nothing to set up here", hint="sign in, or have an admin make you an account")
