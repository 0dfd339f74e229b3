"""
The environment variables by which libraries find GPUs; a process reads them once.

CUDA and HIP renumber the devices that their variables list, from 0.  ROCR_VISIBLE_DEVICES is read one layer below HIP:
the devices that it leaves are renumbered for HIP, so the other variables must not use its numbers.
"""

from __future__ import annotations

from woolexec.core.devices import GPU

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BELOW = "ROCR_VISIBLE_DEVICES"
ABOVE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
CONTAINERS = "NVIDIA_VISIBLE_DEVICES"
"""Read when a container starts, and by some tools."""


def devices_of(resources: Mapping[str, float], environment: Mapping[str, str]) -> list[str]:
    """
    Return the identifiers of the devices that resources contain.

    :raises ValueError: if their number is not whole, or a variable leaves this process fewer of them
    """
    if not resources[GPU].is_integer():
        raise ValueError(f"resources: gpu must be a whole number of devices, not {resources[GPU]:g}")
    return names_of(int(resources[GPU]), environment)


def names_of(count: int, environment: Mapping[str, str]) -> list[str]:
    """
    Return the identifiers of the devices that this process may give to workers.

    :raises ValueError: if a variable leaves this process fewer of them
    """
    for variable in (*ABOVE, BELOW):
        if variable in environment:
            names = _listed(environment[variable])
            if len(names) < count:
                text = f"{variable}={environment[variable]} leaves this process {len(names)}"
                raise ValueError(f"resources: gpu={count}, but {text}")
            return names[:count]
    return [str(number) for number in range(count)]


def hiding(count: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables that hide devices of the host, if a process sees fewer than this because of them."""
    try:
        names_of(count, environment)
    except ValueError:
        return (*ABOVE, BELOW)
    return ()


def _listed(text: str) -> list[str]:
    """Return the devices of a list, which ends at the first that is invalid."""
    names: list[str] = []
    for part in text.split(","):
        name = part.strip()
        if not name or name.startswith("-") or name in names or name == "NoDevFiles":
            break
        names.append(name)
    return names


def variables_of(names: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make a worker see only these devices."""
    listed = ",".join(names)
    if BELOW in environment and not any(variable in environment for variable in ABOVE):
        above = ",".join(map(str, range(len(names))))
        return {BELOW: listed, **dict.fromkeys(ABOVE, above), CONTAINERS: listed}
    return {**dict.fromkeys(ABOVE, listed), CONTAINERS: listed}
