"""CPython's own tests of concurrent.futures, and what later Pythons document, against PeerPoolExecutor."""
