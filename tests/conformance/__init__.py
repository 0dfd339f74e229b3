"""CPython's own tests of concurrent.futures, and the documentation of later Pythons, checked with PeerPoolExecutor."""
