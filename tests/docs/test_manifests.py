"""Kubernetes accepts the manifests of the pages, and `woolexec serve` accepts the arguments in them."""

import re
from argparse import ArgumentParser
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from woolexec.cli.serve_settings import SETTINGS
from woolexec.cli.settings import gather

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "deployment.md"
PAGES = [PAGE, DOCS / "kubernetes.md"]
FENCE = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
OLDEST = "1.30"


def manifests(page):
    found = [each for text in FENCE.findall(page.read_text(encoding="utf-8")) for each in yaml.safe_load_all(text)]
    assert found
    return found


def deployment(page):
    (found,) = (each for each in manifests(page) if each["kind"] == "Deployment")
    return found


def settings_of(arguments, environment):
    parser = ArgumentParser()
    for setting in SETTINGS:
        setting.add_to(parser)
    return gather(SETTINGS, parser.parse_args(arguments), environment)


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(each, id=f"{page.stem}-{each['kind']}")
        for page in PAGES
        for each in manifests(page)
        if not each["apiVersion"].startswith("keda.sh/")
    ],
)
def test_manifest_is_valid(manifest):
    kubernetes_validate.validate(manifest, OLDEST, strict=True)


def test_schema_would_find_a_mistake():
    manifest = deployment(PAGE)
    manifest["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, OLDEST, strict=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_container_is_started_with_settings_that_there_are(page):
    pod = deployment(page)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][:2] == ["woolexec", "serve"]
    variables = {each["name"]: each["value"] for each in container["env"] if each["name"] != "WOOLEXEC_STATE"}
    settings = settings_of(container["command"][2:], variables)
    ports = {each["containerPort"] for each in container["ports"]}
    assert int(settings["bind"].rpartition(":")[2]) in ports
    assert f":{container['readinessProbe']['grpc']['port']}" in settings["health"]
    assert settings["drain-timeout"] < pod["terminationGracePeriodSeconds"]


def test_what_keda_asks_prometheus_for_is_a_metric_of_ours():
    (scaled,) = (each for each in manifests(PAGES[1]) if each["kind"] == "ScaledObject")
    (external,) = (each for each in manifests(PAGES[1]) if each["kind"] == "HorizontalPodAutoscaler")
    names = [external["spec"]["metrics"][0]["external"]["metric"]["name"]]
    names += re.findall(r"woolexec_\w+", scaled["spec"]["triggers"][0]["metadata"]["query"])
    metrics = (DOCS / "observe.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}{{state}}`" not in metrics] == []


def test_objects_that_the_role_names_are_those_that_there_are():
    found = {each["kind"]: each for each in reversed(manifests(PAGES[1])) if "namespace" in each["metadata"]}
    named = [name for rule in found["Role"]["rules"] for name in rule.get("resourceNames", ())]
    assert named == [found[kind]["metadata"]["name"] for kind in ("Deployment", "Secret", "Lease")]
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["volumes"][0]["secret"]["secretName"] == found["Secret"]["metadata"]["name"]
    assert found["Deployment"]["spec"]["replicas"] == 0


def test_configuration_file_has_settings_that_there_are(tmp_path):
    (text,) = TOML.findall(PAGE.read_text(encoding="utf-8"))
    (tmp_path / "woolexec.toml").write_text(text)
    assert settings_of([], {"WOOLEXEC_CONFIG": str(tmp_path / "woolexec.toml")})["tls-cert"]
