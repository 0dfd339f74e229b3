"""A program that changes all settings that it can, and reads them; the tests add where it reads them."""

TOP = """
import copyreg, csv, decimal, enum, locale, logging, multiprocessing, os, pathlib, re, resource, socket, sys, time
import warnings

csv.field_size_limit(1 << 24)
decimal.getcontext().prec = 50
decimal.getcontext().traps[decimal.Inexact] = True
sys.set_int_max_str_digits(0)
sys.setrecursionlimit(1234)
class Careful(UserWarning): pass
warnings.filterwarnings("error", message="care[f]ul")
warnings.simplefilter("error", Careful)
socket.setdefaulttimeout(3)
locale.setlocale(locale.LC_TIME, "C.UTF-8")

class Level(enum.IntEnum):
    VERBOSE = 15

logging.addLevelName(Level.VERBOSE, "VERBOSE")
logging.getLogger("quiet").setLevel("ERROR")
logging.getLogger("verbose").setLevel(Level.VERBOSE)
logging.disable(5)

class Loud(logging.Logger):
    def verbose(self, *args):
        self.log(15, *args)

logging.setLoggerClass(Loud)

class Weight:
    def __init__(self):
        self.pattern = re.finditer("a", "a")  # does not pickle

copyreg.pickle(Weight, lambda weight: (Weight, ()))

def raised(*args):
    try:
        warnings.warn(*args)
    except Warning as exc:
        return type(exc).__name__
    return None

def look():
    return {
        "csv": csv.field_size_limit(),
        "decimal": (decimal.getcontext().prec, decimal.getcontext().traps[decimal.Inexact]),
        "digits": len(str(10**5000)),
        "recursion": sys.getrecursionlimit(),
        "warnings": (raised("careful"), raised("mine", Careful), raised("other")),
        "socket": socket.getdefaulttimeout(),
        "locale": locale.setlocale(locale.LC_TIME),
        "level names": logging.getLevelName(15),
        "levels": [int(logging.getLogger(name).level) for name in ("quiet", "verbose")],
        "disabled": logging.root.manager.disable,
        "logger class": hasattr(logging.getLogger("new"), "verbose"),
    }

async def look_beside():
    return look()

def look_in_a_stream():
    yield look()
"""
