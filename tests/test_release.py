"""The parts of a release: one version, links that work on the package index, and workflows."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml

import woolexec

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REPOSITORY = "https://host.invalid/owner/woolexec"

in_a_clone = pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="beside the wheel there are only the tests")


@pytest.fixture(scope="module")
def hook():
    pytest.importorskip("hatchling")
    return runpy.run_path(str(ROOT / "hatch_build.py"))


def workflow(name):
    """A workflow of the code host; YAML reads its key `on` as true."""
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())


def test_version_is_written_down_once():
    assert "version" not in PYPROJECT["project"]
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"] == {"path": "woolexec/__init__.py"}
    if not (ROOT / "woolexec").exists():  # beside the wheel
        return
    places = [path for path in (ROOT / "woolexec").rglob("*.py") if f'"{woolexec.__version__}"' in path.read_text()]
    assert places == [ROOT / "woolexec" / "__init__.py"]
    assert (ROOT / "woolexec" / "__init__.py").read_text().count(f'"{woolexec.__version__}"') == 1


def test_changelog_begins_with_the_version():
    first = re.search(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first[1] == woolexec.__version__


@in_a_clone
def test_links_of_the_readme_lead_to_the_repository_on_the_package_index(hook):
    readme = (ROOT / "README.md").read_text()
    ours = re.findall(r"\]\((?!\w+:|#)([^)]+)\)", readme)
    text = hook["with_links_to"](REPOSITORY, "v1.0", readme)
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert ours
    assert [each for each in targets if not each.startswith(("https://", "#"))] == []
    assert [each for each in ours if not any(target.endswith(f"/v1.0/{each}") for target in targets)] == []
    # Other forms of a link, which the hook does not know, would lead nowhere.
    assert re.findall(r"(?:href|src)=\"(?!https:|#)|^\[[^]]+\]: (?!https:)", text, re.MULTILINE) == []


@in_a_clone
def test_an_image_leads_to_the_file_itself_and_a_link_to_its_page(hook):
    text = "![chart](docs/a.svg) [page](docs/b.md#part) [other](https://example.org) [here](#part) [mail](mailto:a@b)"
    assert hook["with_links_to"](REPOSITORY, "v1.0", text) == (
        f"![chart]({REPOSITORY}/raw/v1.0/docs/a.svg) [page]({REPOSITORY}/blob/v1.0/docs/b.md#part)"
        " [other](https://example.org) [here](#part) [mail](mailto:a@b)"
    )


@in_a_clone
@pytest.mark.parametrize("repository", ["", REPOSITORY, f"{REPOSITORY}/"])
def test_distribution_has_the_urls_of_the_repository_that_the_release_names(hook, monkeypatch, repository):
    monkeypatch.setenv("WOOLEXEC_REPOSITORY", repository)
    metadata = {"version": "1.0"}
    hook["Links"](str(ROOT), {}).update(metadata)
    assert set(PYPROJECT["project"]["dynamic"]) == set(metadata)
    if not repository:
        assert metadata["urls"] == {}
        assert metadata["readme"]["text"] == (ROOT / "README.md").read_text()
        return
    assert set(metadata["urls"]) == {"Documentation", "Changelog", "Source", "Issues"}
    assert [each for each in metadata["urls"].values() if not re.match(rf"{REPOSITORY}(/\w|$)", each)] == []
    for file in re.findall(rf"{REPOSITORY}/blob/v1.0/(\S+)", " ".join(metadata["urls"].values())):
        assert (ROOT / file).exists()


@in_a_clone
def test_wheel_of_a_source_distribution_keeps_what_that_one_says(hook, monkeypatch):
    monkeypatch.delenv("WOOLEXEC_REPOSITORY", raising=False)
    filled_in = {"version": "1.0", "urls": {"Source": REPOSITORY}, "readme": {"text": "filled in"}}
    metadata = dict(filled_in)
    hook["Links"](str(ROOT), {}).update(metadata)
    assert metadata == filled_in


@in_a_clone
def test_release_builds_with_its_own_links_and_publishes_without_a_secret():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    jobs = workflow("release")["jobs"]
    assert jobs["build"]["env"] == {"WOOLEXEC_REPOSITORY": "${{ github.server_url }}/${{ github.repository }}"}
    assert any("wheel-test" in step.get("run", "") for step in jobs["build"]["steps"])
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "secrets." not in text
    assert "password" not in text


@in_a_clone
def test_every_change_is_checked_by_ci_run():
    ci = workflow("ci")
    assert set(ci[True]) == {"push", "pull_request"}
    assert any(step.get("run") == ".ci/run" for step in ci["jobs"]["check"]["steps"])


@in_a_clone
@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.stem)
def test_each_file_for_the_code_host_is_yaml(path):
    assert yaml.safe_load(path.read_text())


@in_a_clone
@pytest.mark.parametrize("name", ["bug", "idea"])
def test_form_for_an_issue_has_what_the_code_host_wants(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= set(form)
    questions = [each for each in form["body"] if each["type"] != "markdown"]
    assert len({each["id"] for each in questions}) == len(questions) > 0
    assert all(each["attributes"]["label"] for each in questions)
