"""The manifests of docs/deployment.md are what Kubernetes takes, and what they start is what `woolexec serve` takes."""

import re
from argparse import ArgumentParser
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from woolexec.cli.serve_settings import SETTINGS
from woolexec.cli.settings import gather

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
FENCE = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
OLDEST = "1.30"


def manifests():
    found = [each for text in FENCE.findall(PAGE.read_text(encoding="utf-8")) for each in yaml.safe_load_all(text)]
    assert found
    return found


def settings_of(arguments, environment):
    parser = ArgumentParser()
    for setting in SETTINGS:
        setting.add_to(parser)
    return gather(SETTINGS, parser.parse_args(arguments), environment)


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: manifest["kind"])
def test_manifest_is_valid(manifest):
    kubernetes_validate.validate(manifest, OLDEST, strict=True)


def test_schema_would_find_a_mistake():
    (manifest,) = (each for each in manifests() if each["kind"] == "Deployment")
    manifest["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, OLDEST, strict=True)


def test_container_is_started_with_settings_that_there_are():
    (manifest,) = (each for each in manifests() if each["kind"] == "Deployment")
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][:2] == ["woolexec", "serve"]
    settings = settings_of(container["command"][2:], {each["name"]: each["value"] for each in container["env"]})
    ports = {each["containerPort"] for each in container["ports"]}
    assert int(settings["bind"].rpartition(":")[2]) in ports
    assert f":{container['readinessProbe']['grpc']['port']}" in settings["health"]
    assert settings["drain-timeout"] < pod["terminationGracePeriodSeconds"]


def test_configuration_file_has_settings_that_there_are(tmp_path):
    (text,) = TOML.findall(PAGE.read_text(encoding="utf-8"))
    (tmp_path / "woolexec.toml").write_text(text)
    assert settings_of([], {"WOOLEXEC_CONFIG": str(tmp_path / "woolexec.toml")})["tls-cert"]
