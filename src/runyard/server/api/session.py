"""Signing in and out, and who one is."""

from fastapi import APIRouter, Request, Response

from runyard.db.database import Session
from runyard.db.queries import users
from runyard.domain.access import Caller
from runyard.domain.errors import NotSignedInError, TooManyRequestsError
from runyard.domain.throttle import Patience
from runyard.schemas.people import PasswordChange, SessionRead, SignIn
from runyard.server import cookies, people
from runyard.server.api import failing
from runyard.server.deps import ForAnybody, ToSee, Yard
from runyard.server.gate import client_address
from runyard.services import accounts, passwords, sessions

router = APIRouter(prefix="/session", tags=["people"])

OF_NAME, OF_ADDRESS = Patience(free=5), Patience(free=50)
WRONG = "the name or the password is wrong"


@router.post("", operation_id="sign_in", responses=failing(400, 413, 415))
async def sign_in(yard: ForAnybody, request: Request, response: Response, ask: SignIn) -> SessionRead:
    """Begin a session for a browser: sets a cookie. Programs use keys."""
    address, name = client_address(request), accounts.fold(ask.name)
    async with yard.database.read() as session:
        known = await users.known(session, name)
    try:
        await _require_password(yard, request, name, known.user.password if known else None, ask.password)
    except (NotSignedInError, TooManyRequestsError) as error:
        await yard.note_refusal(request, error.code, name, known.user.tenant if known else None)
        raise
    assert known is not None, "nobody has no password that matches"
    async with yard.database.write() as session:
        await _require_still(session, name, known.user.password)
        found, token = await people.enter(session, name, address, yard.clock())
    return let_in(yard, request, response, found, token)


@router.get("", operation_id="get_session")
async def show(desk: ToSee, request: Request) -> SessionRead:
    """Who asks, and what they may do."""
    return _read(desk.caller, cookies.session_token(request) if desk.caller.via == "session" else None)


@router.delete("", status_code=204, operation_id="sign_out")
async def sign_out(desk: ToSee, request: Request, response: Response) -> None:
    """End the session of the cookie. Keys are revoked, not signed out."""
    async with desk.write(desk.caller.user) as session:
        await sessions.end(session, desk.caller)
    desk.access_changed()
    cookies.drop_session(response, request)


@router.post("/password", status_code=204, operation_id="change_password", responses=failing(400, 413, 415))
async def change_password(desk: ToSee, request: Request, ask: PasswordChange) -> None:
    """Change one's own password; all one's other sessions end."""
    name = desk.caller.user
    async with desk.read() as session:
        user = await users.get(session, name)
    await _require_password(desk.yard, request, name, user.password if user else None, ask.old)
    kept = await passwords.hashed(ask.new)
    async with desk.write(name) as session:
        await _require_still(session, name, user.password if user else None)
        await accounts.change_password(session, desk.caller, kept)
    desk.access_changed()


async def _require_still(session: Session, name: str, kept: str | None) -> None:
    """Raise NotSignedInError when the password was changed, or its user shut out, while we looked at the old one."""
    still = await users.known(session, name)
    if still is None or still.user.password != kept:
        raise NotSignedInError(WRONG)


async def _require_password(yard: Yard, request: Request, name: str, kept: str | None, given: str) -> None:
    """Raise NotSignedInError, or TooManyRequestsError after many wrong ones.

    They are counted for a name from one address, and for the address: somebody else, or a browser from which one has
    signed in before, has counts of its own, so that nobody can be locked out by others.
    """
    failures, now, address = yard.gate.failures, yard.clock(), client_address(request)
    device = cookies.device(request, name, yard.gate.device_key)
    tried = (
        [(("device", device), OF_NAME)] if device else [((name, address), OF_NAME), (("address", address), OF_ADDRESS)]
    )
    if wait := failures.wait(tried, now):
        raise TooManyRequestsError("too many wrong passwords", wait, hint="wait, then try again")
    failures.failed(tried, now)  # before it is looked at: many at once are counted, too
    if not await passwords.matches(kept, given):
        raise NotSignedInError(WRONG, hint="an admin can set a new password: `runyard users change NAME --password`")
    failures.take_back(tried)


def let_in(yard: Yard, request: Request, response: Response, caller: Caller, token: str) -> SessionRead:
    """Give the browser its cookies."""
    cookies.keep_session(response, request, token)
    cookies.keep_device(response, request, caller.user, yard.gate.device_key)
    return _read(caller, token)


def _read(caller: Caller, token: str | None) -> SessionRead:
    read = SessionRead.model_validate(caller)
    read.csrf_token = sessions.csrf_token(token) if token else None
    return read
