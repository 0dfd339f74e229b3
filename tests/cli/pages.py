"""Pages that tests open with the command line, as browsers see them."""

import json
import urllib.request

from tests.cli.serving import PATIENCE


def opened(url, path):
    page, _, query = url.partition("?")
    return urllib.request.urlopen(f"{page}{path}?{query}", timeout=PATIENCE)


def get(url, path):
    with opened(url, path) as answer:
        return json.load(answer)


def first_event(url):
    """Return the snapshot that a browser gets first."""
    with opened(url, "events") as answer:
        assert answer.readline() == b"event: snapshot\n"
        return json.loads(answer.readline().removeprefix(b"data: "))
