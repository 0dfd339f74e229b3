"""
A fresh program up to its first result: imports, construction, one task.

Loads nothing before the clock runs but what the interpreter has loaded anyway, so nobody finds its imports paid for.
"""

import sys
import time

if __name__ == "__main__":
    imports, construct, result, close = sys.argv[1:]
    scope = {}
    begun = time.perf_counter()
    exec(imports, scope)
    imported = time.perf_counter()
    scope["pool"] = eval(construct, scope)
    value = eval(result, scope)
    ended = time.perf_counter()
    exec(close, scope)
    if value != 1:
        raise RuntimeError(f"the first result is {value!r}, not 1")
    times = {"imported": imported - begun, "pool": ended - imported, "import": ended - begun}
    print("{" + ", ".join(f'"{name}": {seconds * 1e3}' for name, seconds in times.items()) + "}")
