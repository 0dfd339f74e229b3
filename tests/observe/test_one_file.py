import re
from base64 import b64encode
from hashlib import sha256

from woolexec.observe.one_file import page_and_policy, policy_of, read


def test_the_policy_names_what_is_in_the_page_and_nothing_else():
    page, policy = page_and_policy("timeline.html", scripts=("timeline.js", "timeline_page.js"), title="t", data="{}")
    assert policy in page
    for kind in ("style", "script"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert f"{kind}-src 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in page
    assert "connect-src 'none'" in page


def test_what_is_put_into_a_page_is_not_filled_in_again():
    page, _ = page_and_policy("timeline.html", scripts=("timeline.js",), title="{{script}}{{data}}", data="7")
    assert "<h1>{{script}}{{data}}</h1>" in page


def test_a_page_may_connect_to_where_it_is_from_if_that_is_said():
    assert "connect-src 'self'" in policy_of("", "", connect="'self'")


def test_the_files_are_installed():
    for name in ("base.css", "page.css", "page.html", "page.js", "timeline.html", "timeline.js", "timeline_page.js"):
        assert read(name)
