"""The settings of ``woolexec serve``: each can be an argument, an environment variable, or a line of a file."""

from __future__ import annotations

from woolexec.cli.log import FORMATS, LEVELS
from woolexec.cli.settings import (
    Setting,
    folder,
    function,
    listening,
    one_of,
    pair,
    port_or_address,
    positive,
    seconds,
    size,
    workers,
)

GIVE_UP_AFTER = 300.0

SERVE = "WOOLEXEC_SERVE_"
"""Prefix of the environment variables whose names would otherwise be those of a client's variables."""

SETTINGS = (
    Setting(
        "workers", "number of calls of all clients that run at once (default: the usable CPUs)", workers, metavar="N"
    ),
    Setting(
        "bind",
        "address to listen at: HOST, HOST:PORT (port 0: any free port) or unix:/PATH (default: a Unix socket that this "
        "user's clients find at local://)",
        listening,
        metavar="ADDRESS",
    ),
    Setting("pool", "name of the pool that the peer belongs to", default="", metavar="NAME"),
    Setting("tag", "a tag that tasks may require; may be given several times", pair, (), "KEY=VALUE", many=True),
    Setting(
        "resource", "a resource that tasks may require; may be given several times", pair, (), "NAME=AMOUNT", many=True
    ),
    Setting(
        "announce", "announce this peer at lan:// or dir:/FOLDER; may be given several times", str, (), "URL", many=True
    ),
    Setting(
        "peers",
        "other peers that may run the nested tasks of tasks; may be given several times",
        str,
        (),
        "URL",
        many=True,
    ),
    Setting("advertise", "address to announce instead of the one it listens at", str, (), "ADDRESS", many=True),
    Setting("token-file", "file of the token that clients must have (default: this user's); -: stdin", metavar="FILE"),
    Setting("tls-cert", "certificate of this peer, PEM", metavar="FILE", variable=f"{SERVE}TLS_CERT"),
    Setting("tls-key", "key of the certificate", metavar="FILE", variable=f"{SERVE}TLS_KEY"),
    Setting(
        "tls-ca", "authority that must have issued clients' certificates", metavar="FILE", variable=f"{SERVE}TLS_CA"
    ),
    Setting(
        "tls-revoked",
        "list of certificates that are not accepted (woolexec certs revoke)",
        metavar="FILE",
        variable=f"{SERVE}TLS_REVOKED",
    ),
    Setting("health", "also answer gRPC health probes at HOST:PORT, without TLS", listening, metavar="ADDRESS"),
    Setting(
        "metrics",
        "serve metrics for Prometheus there, without TLS and credentials; a port alone is open to this host only",
        port_or_address,
        metavar="HOST:PORT",
    ),
    Setting(
        "dashboard",
        "serve a page of the clients' tasks there, without TLS; it asks for the token in its URL, which --json and "
        "woolexec top --web print; a port alone is open to this host only",
        port_or_address,
        metavar="HOST:PORT",
    ),
    Setting("allow", "run only this function; may be given several times", function, None, "MODULE:NAME", many=True),
    Setting("audit", "append a line of JSON for each task that ends", metavar="FILE"),
    Setting("audit-limit", "size at which FILE is renamed FILE.1, FILE.2 to .4", positive, 64 << 20, metavar="BYTES"),
    Setting(
        "compression",
        "how large payloads are compressed on their way to and from other hosts",
        one_of("auto", "off", "zstd", "lz4"),
        "auto",
        "auto|off|zstd|lz4",
    ),
    Setting(
        "store-limit",
        "bytes of memory for kept outcomes (keep=True) of all clients (default: 30 %% of the memory)",
        positive,
        metavar="BYTES",
    ),
    Setting(
        "spill-dir",
        "folder for outcomes beyond store-limit (default: none, and they are sent to clients)",
        folder,
        metavar="FOLDER",
    ),
    Setting(
        "max-memory-per-child",
        "memory above which a worker is replaced after its task, such as 2GiB; clients may say less",
        size,
        metavar="SIZE",
    ),
    Setting(
        "memory-limit",
        "memory above which a worker is ended during its task, such as 4GiB; clients may say less",
        size,
        metavar="SIZE",
    ),
    Setting("no-environment", "let clients set no environment variables in workers", default=False, metavar=None),
    Setting("insecure", "let anyone who can connect run code here", default=False, metavar=None),
    Setting("lifeline", "end when stdin is closed", default=False, metavar=None),
    Setting("lease", "end when no client has been connected for this many seconds", seconds, metavar="SECONDS"),
    Setting("drain-timeout", "seconds that tasks have to end after SIGTERM", seconds, 3600.0, "SECONDS"),
    Setting(
        "give-up-after",
        "exit with code 1 after this many seconds in which no worker could be started",
        seconds,
        GIVE_UP_AFTER,
        "SECONDS",
    ),
    Setting("log-format", "format of the log on stderr", one_of(*FORMATS), "text", "|".join(FORMATS)),
    Setting("log-level", "lowest level that is logged", one_of(*LEVELS), "info", "|".join(LEVELS)),
    Setting("json", "print the ready line as JSON", default=False, metavar=None),
)
