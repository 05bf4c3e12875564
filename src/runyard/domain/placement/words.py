"""Why a job waits, in words for people."""

from collections.abc import Iterable, Sequence

from runyard.domain.placement.decisions import Wait
from runyard.domain.placement.demand import Machine, Needs, Quotas, Share, Waiting
from runyard.domain.placement.room import Bay, Room, Usage, choose

HELD = "waits until its last try has given back what it held"


def too_much(needs: Needs, machines: Sequence[Machine]) -> str:
    """What no machine has."""
    one = len(machines) == 1
    where = "this machine has" if one else "the largest machine has"
    most = max((len(machine.gpus) for machine in machines), default=0)
    if (needs.gpus or 0) > most:
        return f"needs {count(needs.gpus or 0, 'GPU')}, {where} {most or 'none'}"
    out = [f"GPU {gpu.index}: {gpu.unusable}" for machine in machines for gpu in machine.gpus if gpu.unusable]
    if out and needs.gpus:
        return f"needs {_gpus(needs)}, and not all can be used ({', '.join(out[:3])})"
    largest = max((gpu.memory_mb for machine in machines for gpu in machine.gpus), default=0)
    if needs.gpus and (needs.gpu_memory_mb or 0) > largest:
        return f"needs {needs.gpu_memory_mb} MB on a GPU, the largest has {largest}"
    cpus = max((machine.cpus or 0 for machine in machines), default=0)
    if needs.cpus and needs.cpus > cpus:
        return f"needs {count(needs.cpus, 'CPU')}, {where} {cpus:g}"
    memory = max((machine.memory_mb or 0 for machine in machines), default=0)
    if needs.memory_mb and needs.memory_mb > memory:
        return f"needs {needs.memory_mb} MB of memory, {where} {memory}"
    return "needs more than any machine has"


def over_quota(needs: Needs, job: Waiting, has: Usage, soon: Usage, quotas: Quotas) -> str | None:
    """None if its user and its tenant may have this, too, beside what they have, and soon will have."""
    user, tenant = job.user, job.tenant
    own, all_ = quotas.shares(user, tenant)
    jobs, gpus = has.users[user] + soon.users[user], has.gpus_of[user] + soon.gpus_of[user]
    if over := _over(needs, user, own, jobs, gpus):
        return over
    jobs, gpus = has.tenants[tenant] + soon.tenants[tenant], has.gpus_of_tenant[tenant] + soon.gpus_of_tenant[tenant]
    return _over(needs, f"the tenant {tenant}", all_, jobs, gpus)


def is_beyond(needs: Needs, shares: Iterable[Share]) -> bool:
    """More than may be had, whatever else runs."""
    return any(share.gpus is not None and (needs.gpus or 0) > share.gpus for share in shares)


def _over(needs: Needs, who: str, share: Share, running: int, gpus: int) -> str | None:
    if is_beyond(needs, [share]):
        return f"needs {_gpus(needs)}, and {who} may have {share.gpus} (quota gpus)"
    if share.running is not None and running >= share.running:
        return f"{who} has {count(running, 'running job')}, and may have {share.running} (quota running)"
    if share.gpus is not None and needs.gpus and gpus + needs.gpus > share.gpus:
        return f"needs {_gpus(needs)}; {who} has {gpus}, and may have {share.gpus} (quota gpus)"
    return share.spent if needs.gpus else None


def no_room(needs: Needs, room: Room) -> str:
    """What is not free. With several machines it is said of the one with the most of it."""
    bays = room.possible(needs)
    if any(choose([bay.free], needs) is not None for bay in bays):
        return f"needs {_gpus(needs) if needs.gpus else 'a slot'}; what is free is kept for one before it"
    if needs.gpus:
        free = _free_gpus(needs, bays)
        if free < needs.gpus:
            return f"needs {_gpus(needs)}, {free} free{_left_out(bays)}"
    elif all(bay.free.slots < 1 for bay in bays):
        return "waits for the job before it to end"
    if needs.cpus and (cpus := max(bay.free.cpus for bay in bays)) < needs.cpus:
        return f"needs {count(needs.cpus, 'CPU')}, {cpus:g} free"
    if needs.memory_mb and (memory := max(bay.free.memory_mb for bay in bays)) < needs.memory_mb:
        return f"needs {needs.memory_mb} MB of memory, {memory:g} free"
    return "needs more than is free on any one machine"


def sentence(wait: Wait, now: float) -> str:
    """Such as `needs 2 GPUs, 1 free; 3rd in line; about 14 min`."""
    parts = [wait.cause, f"{ordinal(wait.position)} in line"]
    if wait.expected is not None:
        parts.append(about(wait.expected.at - now))
    return "; ".join(parts)


def ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def about(seconds: float) -> str:
    """A time that is not known well."""
    if seconds < 90:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.0f} h"


def makes_room(victims: int) -> str:
    return (
        f"waits for {count(victims, 'job')} to save and make room" if victims else "waits for those that are stopping"
    )


def count(number: float, noun: str) -> str:
    return f"{number:g} {noun}" if number == 1 else f"{number:g} {noun}s"


def _gpus(needs: Needs) -> str:
    number = count(needs.gpus or 0, "GPU")
    return number if needs.gpu_memory_mb is None else f"{needs.gpu_memory_mb} MB on {number}"


def _free_gpus(needs: Needs, bays: Sequence[Bay]) -> int:
    """Those with room for it, on the machine with the most of them."""
    return max(sum(free >= bay.free.wanted(needs, index) for index, free in bay.free.gpus.items()) for bay in bays)


def _left_out(bays: Sequence[Bay]) -> str:
    out = [f"GPU {gpu.index}: {gpu.unusable}" for bay in bays for gpu in bay.machine.gpus if gpu.unusable]
    return f" ({', '.join(out[:3])})" if out and len(bays) == 1 else ""
