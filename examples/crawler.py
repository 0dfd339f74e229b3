"""
Crawl a web site: coroutines in workers fetch pages, many at once, and parse them on all processors.

    python crawler.py [http://127.0.0.1:8000/]

Without an address it starts a small site of its own and crawls that.
"""

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urldefrag, urljoin, urlsplit

from woolexec import PeerPoolExecutor

PAGES_LIMIT = 200
AT_ONCE = 50


async def fetch(url: str) -> tuple[str, list[str]]:
    """
    Return the title of a page and its links.

    This runs in a worker, on an event loop there, beside other calls of `fetch`.  With aiohttp or httpx it would be
    shorter, and could do https.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        writer.write(f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status = head.partition(b"\r\n")[0].decode()
    if " 200 " not in status:
        raise OSError(f"{url}: {status}")
    text = body.decode(errors="replace")
    title = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
    return title[1] if title else "", [urljoin(url, link) for link in re.findall(r'href="([^"]+)"', text)]


async def crawl(pool: PeerPoolExecutor, start: str) -> dict[str, str]:
    """Return the titles of all pages of the site."""
    titles: dict[str, str] = {}
    seen = {start}
    # A call that is cancelled by its timeout is a coroutine here, so no worker is ended for it.
    polite = pool.with_options(timeout=10, retries=1, retry_on=OSError)
    slots = asyncio.Semaphore(AT_ONCE)  # be gentle to the site

    async def visit(url: str) -> None:
        async with slots:
            try:
                titles[url], links = await polite.run(fetch, url)
            except (OSError, TimeoutError) as exc:
                print(f"left out: {exc}", file=sys.stderr)
                return
        for link in (urldefrag(each).url for each in links):
            if link not in seen and len(seen) < PAGES_LIMIT and urlsplit(link).netloc == urlsplit(start).netloc:
                seen.add(link)
                group.create_task(visit(link))

    async with asyncio.TaskGroup() as group:  # ends when no page is left
        group.create_task(visit(start))
    return titles


class Site(BaseHTTPRequestHandler):
    """Thirty pages, each with links to two others."""

    def do_GET(self) -> None:
        number = int(self.path.strip("/") or 1)
        links = "".join(f'<a href="/{n}">{n}</a>' for n in (2 * number, 2 * number + 1) if n <= 30)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"<title>page {number}</title>{links}".encode())

    def log_message(self, *args: object) -> None:
        """Be quiet."""


@contextmanager
def local_site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


async def main(start: str) -> None:
    async with PeerPoolExecutor() as pool:
        titles = await crawl(pool, start)
    for url, title in sorted(titles.items()):
        print(url, title)
    print(f"{len(titles)} pages")


if len(sys.argv) > 1:
    asyncio.run(main(sys.argv[1]))
else:
    with local_site() as address:
        asyncio.run(main(address))
