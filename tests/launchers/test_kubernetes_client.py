"""How answers of Kubernetes are read; test_kubernetes.py tests the requests."""

from types import SimpleNamespace

import pytest

pytest.importorskip("kubernetes.aio")

from kubernetes.aio import client

from woolexec.launchers import kubernetes_client
from woolexec.launchers.pods import Pod


def pod(**status):
    about = client.V1ObjectMeta.from_dict({"name": "w-1", "uid": "u"})
    return client.V1Pod(metadata=about, status=client.V1PodStatus.from_dict(status))


READY = [{"type": "Ready", "status": "True"}]
WAITING = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
ENDED = {
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
}
CONTAINER = {"name": "peer", "image": "i", "imageID": "", "ready": False, "restartCount": 0}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Running", "podIP": "10.0.0.1", "conditions": READY}, {"address": "10.0.0.1:7", "is_ready": True}),
        ({"phase": "Running", "podIP": "fd00::1", "conditions": READY}, {"address": "[fd00::1]:7", "is_ready": True}),
        ({"phase": "Pending"}, {}),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, {"is_over": True, "text": "Evicted: disk"}),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no CPU"}
                ],
            },
            {"text": "Unschedulable: no CPU"},
        ),
        ({"phase": "Pending", "containerStatuses": [CONTAINER | WAITING]}, {"text": "ImagePullBackOff: no such image"}),
        (
            {"phase": "Running", "containerStatuses": [CONTAINER | ENDED]},
            {"text": "CrashLoopBackOff; Error: exit code 3"},
        ),
    ],
)
def test_pod_is_read_from_what_kubernetes_says(status, expected):
    assert kubernetes_client._pod(pod(**status), 7) == Pod("u", "w-1", **expected)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"message": "forbidden"}', "forbidden (status 403)"),
        ("<html>", "Forbidden (status 403)"),
        (None, "Forbidden (status 403)"),
    ],
)
def test_message_of_an_error_is_that_of_the_api(body, text):
    assert kubernetes_client._message(SimpleNamespace(body=body, reason="Forbidden", status=403)) == text


def test_kubeconfig_is_the_one_that_is_named_and_there(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/none:{tmp_path}")
    assert kubernetes_client._kubeconfig() == f"{tmp_path}/none:{tmp_path}"
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/none")
    assert kubernetes_client._kubeconfig() == ""
