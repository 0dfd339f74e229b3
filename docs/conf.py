"""
How `make docs` builds the site.

The root of the sources is the root of the repository, not this folder: the pages link README.md, CHANGELOG.md and the
examples, and the same relative links work on the code host and in the site.
"""

import os
import re

from sphinx.util.nodes import make_refnode

from woolexec import __version__, errors
from woolexec.engine.lane import COROUTINES

ROOT_PAGE = "docs/index"

project = "woolexec"
author = "The woolexec authors"
copyright = author  # noqa: A001  # the name that Sphinx reads
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = ROOT_PAGE
include_patterns = ["*.md", "docs/**.md", "examples/README.md"]
exclude_patterns = [".*", "build", "dist", "protos", "tests", "woolexec"]

# -- pages ------------------------------------------------------------------------------------------------------------

# Links to a heading are written as the code host makes them: lower case, with hyphens.
myst_heading_anchors = 4

# -- the reference ----------------------------------------------------------------------------------------------------

# The docstrings have names in single backticks: a link if the name is in the reference, else code.
default_role = "py:obj"
autodoc_mock_imports = [
    "eventkit",
    "joblib",
    "kubernetes",
    "prometheus_client",
]  # their doors are described, which import them
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "inherited-members": "Executor,ImportError,Exception,BaseException,Generic",
}
# As the source has them, or the reference would show the environment in which it was built.
autodoc_preserve_defaults = True
# Types stand beside the descriptions: signatures stay readable.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
python_use_unqualified_type_names = True

nitpicky = True
nitpick_ignore_regex = [
    # A parameter or an attribute of the name's own class.
    ("py:obj", r"[a-z_]+"),
    # Other packages.  With LINKS=1 those of the standard library are links.
    (
        "py:(obj|class|exc)",
        r"(collections|concurrent|contextlib|contextvars|graphlib|multiprocessing|numpy|opentelemetry|os|pathlib|pdb|pickle|sys)\..+",
    ),
    ("py:(obj|class|exc)", "BrokenProcessPool|CancelledError|Executor|Random"),
    # Annotations with names that are not public.
    ("py:class", r"Audit|Future|GraphCollection|OptionsView|PeersArgument|RecordKey|Rules|Shippable|Stays|StreamScope"),
    ("py:class", r"CollectorRegistry|MeterProvider|T|Tls|Trace"),
    ("py:class", r"(woolexec\.launchers\.nodes\.Nodes|(woolexec\.options\.)?View_co)"),
    ("py:class", r"woolexec\.api\.(base_executor\.BaseExecutor|pool_executor\.PoolExecutor|(\w+\.[TF]))"),
    (
        "py:class",
        r"woolexec\.(api\.options_view\.EngineExecutor|futures\.call_future\.T|integrations\.(bar|pool(_results)?)\.T)",
    ),
]

# They are looked for where they say that they are defined; their attributes are described in another module.
for error in (
    errors.InitializerError,
    errors.NoPeersError,
    errors.ValueLostError,
    errors.WorkerLostError,
    errors.WorkerStartError,
):
    error.__module__ = "woolexec.broken_pool"
errors.WoolexecError.__module__ = "woolexec.base_error"


def fill_in_constant(_app, _what, _name, _object, _options, signature, returns):
    """Replace the default that is a constant of a module that is not public."""
    return signature and signature.replace("=COROUTINES", f"={COROUTINES}"), returns


def find_public_name(app, env, node, text):
    """Find a public name that a docstring mentions without its module."""
    domain = env.get_domain("py")
    for module in ("woolexec", "woolexec.errors", "woolexec.discovery", "woolexec.testing"):
        found = domain.objects.get(f"{module}.{node.get('reftarget')}")
        if node.get("refdomain") == "py" and found:
            return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, text)
    return None


# -- links ------------------------------------------------------------------------------------------------------------

# `make docs LINKS=1` also asks the hosts that the pages link to; nothing else here needs a network.
linkcheck_timeout = 20
linkcheck_retries = 2
if os.environ.get("LINKS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {"python": ("https://docs.python.org/3", None)}

# -- the look ---------------------------------------------------------------------------------------------------------

html_theme = "furo"
html_extra_path = ["site"]  # the page at the root, which leads to ours
html_title = f"woolexec {release}"
html_show_copyright = False
html_show_sourcelink = html_copy_source = False

# -- the sidebar ------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| \[([^]]+)\]\(([^)#]+\.md)\) \|", re.MULTILINE)


def add_contents(_app, docname, source):
    """Make the sidebar from the tables of the index pages: the pages have no other list of contents."""
    if docname not in {ROOT_PAGE, "docs/reference/index"}:
        return
    for section in re.split(r"^(?=## )", source[0], flags=re.MULTILINE):
        if rows := ROW.findall(section):
            caption = re.match(r"## (.+)", section)
            lines = [f":caption: {caption[1]}"] if caption else []
            lines += [":hidden:", "", *(f"{title} <{target}>" for title, target in rows)]
            source[0] += "\n" + "\n".join(["```{toctree}", *lines, "```"]) + "\n"


SOURCE = re.compile(r"\]\(([\w/]+\.(py|sh))\)")


def add_sources(_app, docname, source):
    """Show the programs below their list, which on the code host is beside them."""
    if docname == "examples/README":
        for path, kind in SOURCE.findall(source[0]):
            language = {"py": "python", "sh": "bash"}[kind]
            source[0] += f"\n## {path}\n\n```{{literalinclude}} {path}\n:language: {language}\n```\n"


def setup(app):
    app.connect("source-read", add_sources)
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-signature", fill_in_constant)
    app.connect("missing-reference", find_public_name)
