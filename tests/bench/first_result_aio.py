"""
The same as `first_result`, inside a running loop of asyncio, with a result that is awaited.

That loop is there before the clock runs: the face is measured, not asyncio.
"""

import asyncio
import sys
import time


async def main(imports, construct, result, close):
    """Print what `first_result` prints."""
    scope = {}
    begun = time.perf_counter()
    exec(imports, scope)
    imported = time.perf_counter()
    scope["pool"] = eval(construct, scope)
    value = await eval(result, scope)
    ended = time.perf_counter()
    exec(close, scope)
    if value != 1:
        raise RuntimeError(f"the first result is {value!r}, not 1")
    times = {"imported": imported - begun, "pool": ended - imported, "import": ended - begun}
    print("{" + ", ".join(f'"{name}": {seconds * 1e3}' for name, seconds in times.items()) + "}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
