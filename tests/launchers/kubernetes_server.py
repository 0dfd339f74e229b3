"""
The part of the API of Kubernetes that a launcher uses, over HTTP, and peers as processes behind it.

What comes in and goes out holds to the published schemas (strictly: no field that they do not have), and only what the
Role of docs/kubernetes.md allows is done.  Controllers and kubelet are this server: pods are processes with an address
of their own below 127.0.0.0/8, which run the command of the page.
"""

import base64
import copy
import functools
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml
from kubernetes_validate import utils

PAGE = Path(__file__).parents[2] / "docs/kubernetes.md"
VERSION = "1.30"
PATH = re.compile(r"/(?:api/v1|apis/([^/]+)/v1)/namespaces/([^/]+)/([a-z]+)(?:/([^/]+)(?:/([a-z]+))?)?")


def manifests():
    """Return those of the page."""
    fences = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [each for text in fences for each in yaml.safe_load_all(text)]


@functools.cache
def validator(kind, api):
    """Return what checks objects of a kind; `kubernetes_validate.validate` reads its files each time."""
    folders = utils.importlib_resources.files("kubernetes_validate").joinpath("kubernetes-json-schema").iterdir()
    folder = next(
        f"kubernetes-json-schema/{each.name}" for each in folders if re.match(rf"v{VERSION}\..*-strict", each.name)
    )
    api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    registry = utils.Registry()
    schema = utils.schema_contents(f"{folder}/{kind.lower()}-{api}.json", VERSION)
    for each in (schema, utils.schema_contents(f"{folder}/_definitions.json", VERSION)):
        registry = utils.Resource.from_contents(each) @ registry
    return utils.jsonschema.validators.Draft202012Validator(schema, registry=registry)


def checked(thing):
    validator(thing["kind"], thing["apiVersion"]).validate(thing)
    return thing


def merged(old, new):
    """Merge as RFC 7396 says."""
    if not isinstance(new, dict):
        return new
    found = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


class Refusal(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Server:
    """
    One namespace.

    :param folder: for the files of its pods
    :param kind: that of the workload: a StatefulSet is made from the Deployment of the page
    """

    def __init__(self, folder, kind="Deployment"):
        self.folder, self.kind = Path(folder), kind
        self.kinds = {}
        for each in manifests():
            self.kinds.setdefault(each["kind"], each)
        self.workload = self.kinds["Deployment"]
        self.rules = copy.deepcopy(self.kinds["Role"]["rules"])
        self.rules[0]["resources"] = [f"{kind.lower()}s/scale"]
        self.used = set()  # what of the rules was used
        self.asked = []  # every request
        self.failing = 0  # how many requests are to fail
        self.expired = False  # the token of the client is not accepted
        self.makes_pods = True
        self.most = 0  # pods that there were to be at a time
        self.pods, self.processes = {}, {}
        self.versions = itertools.count(1)
        self.numbers = itertools.count(1)
        self.net = f"127.{random.randrange(1, 250)}.{random.randrange(1, 250)}"
        self.changed = threading.Condition(threading.RLock())
        for name in ("Secret", "Lease"):
            self.touch(self.kinds[name])

    # -- http -----------------------------------------------------------------------------------------------------

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size)
                with server.changed:
                    try:
                        code, said = 200, server.handle(self.command, self.path, body, self.headers)
                    except Refusal as exc:
                        code = exc.code
                        said = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
                        said |= {"message": str(exc), "code": code}
                data = json.dumps(checked(said) if code == 200 else said).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PATCH = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = False
        self.threads = [
            threading.Thread(target=self.http.serve_forever, args=(0.05,)),
            threading.Thread(target=self.control),
        ]
        self.is_over = False
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc_info):
        with self.changed:
            self.is_over = True
            self.workload["spec"]["replicas"] = 0
            self.changed.notify_all()
        self.http.shutdown()
        for thread in self.threads:
            thread.join()
        self.http.server_close()
        for process in self.processes.values():
            process.kill()
            process.wait()

    def kubeconfig(self):
        """Write a kubeconfig for it, and return its path."""
        where = {"server": f"http://127.0.0.1:{self.http.server_address[1]}"}
        told = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": where}],
            "users": [{"name": "me", "user": {"token": "new" if self.expired else "old"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        path = self.folder / "kubeconfig"
        path.write_text(yaml.safe_dump(told))
        return str(path)

    def handle(self, method, path, body, headers):
        parts = urlsplit(path)
        group, namespace, resource, name, below = PATH.fullmatch(parts.path).groups()
        assert namespace == "team"
        if self.expired and headers["Authorization"] != "Bearer new":
            raise Refusal(401, "Unauthorized")
        verb = {"GET": "get" if name else "list", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}[method]
        what = f"{resource}/{below}" if below else resource
        self.allow(group or "", what, name, verb)
        self.asked.append((verb, what, name))
        if self.failing:
            self.failing -= 1
            raise Refusal(500, "etcdserver: request timed out")
        if verb == "list":
            return self.list_pods(parse_qs(parts.query))
        assert verb in ("get", "patch")
        patch = None
        if verb == "patch":
            assert headers["Content-Type"] == "application/merge-patch+json"
            patch = json.loads(body)
        if below == "scale":
            return self.scale(patch)
        if resource == "pods":
            if name not in self.pods:
                raise Refusal(404, f'pods "{name}" not found')
            return self.patched(self.pods[name], patch)
        return self.patched(self.kinds[{"secrets": "Secret", "leases": "Lease"}[resource]], patch)

    def allow(self, group, resource, name, verb):
        for index, rule in enumerate(self.rules):
            names = rule.get("resourceNames")
            if group not in rule["apiGroups"] or resource not in rule["resources"] or verb not in rule["verbs"]:
                continue
            if names is None or name in names:
                self.used.add((index, verb))
                return
        raise Refusal(403, f'{resource} "{name}" is forbidden: User "woolexec" cannot {verb} it')

    def patched(self, thing, patch):
        if patch is not None:
            version = patch.get("metadata", {}).pop("resourceVersion", None)
            if version is not None and version != thing["metadata"]["resourceVersion"]:
                raise Refusal(409, "the object has been modified; please apply your changes to the latest version")
            new = checked(merged(thing, patch))
            thing.clear()
            thing.update(new)
            self.touch(thing)
        return thing

    def touch(self, thing):
        thing["metadata"]["resourceVersion"] = str(next(self.versions))

    def scale(self, patch):
        spec = self.workload["spec"]
        if patch is not None:
            spec["replicas"] = patch["spec"]["replicas"]
            self.most = max(self.most, spec["replicas"])
            self.changed.notify_all()
        labels = ",".join(f"{key}={value}" for key, value in spec["selector"]["matchLabels"].items())
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {"name": "workers", "namespace": "team"},
            "spec": {"replicas": spec["replicas"]},
            "status": {"replicas": len(self.pods), "selector": labels},
        }

    def list_pods(self, query):
        assert query["labelSelector"] == ["app=workers"]
        items = [copy.deepcopy(pod) for pod in self.pods.values()]
        for item in items:
            checked(item)
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}

    # -- controllers and kubelet ----------------------------------------------------------------------------------

    def control(self):
        while True:
            with self.changed:
                self.reap()
                wanted = self.workload["spec"]["replicas"]
                live = [pod for pod in self.pods.values() if "deletionTimestamp" not in pod["metadata"]]
                for pod in sorted(live, key=self.rank)[: max(len(live) - wanted, 0)]:
                    self.delete(pod["metadata"]["name"])
                missing = [f"workers-6b7f-{next(self.numbers)}" for _ in range(wanted - len(live))]
                if self.kind == "StatefulSet":  # a name is free when its pod is gone
                    missing = [name for name in map("workers-{}".format, range(wanted)) if name not in self.pods]
                for name in missing if self.makes_pods else ():
                    self.create(name)
                if self.is_over and not self.pods:
                    return
                self.changed.wait(0.05)

    def rank(self, pod):
        """Return the rank of a pod among those that end: of a ReplicaSet, see getPodsWithRanks; of a StatefulSet."""
        if self.kind == "StatefulSet":
            return -int(pod["metadata"]["name"].rpartition("-")[2])
        cost = pod["metadata"].get("annotations", {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
        return pod["status"]["phase"] != "Pending", self.is_ready(pod), int(cost)

    @staticmethod
    def is_ready(pod):
        return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))

    def create(self, name):
        number = next(self.numbers)
        template = copy.deepcopy(self.workload["spec"]["template"])
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": template["metadata"], "spec": template["spec"]}
        pod["metadata"] |= {"name": name, "namespace": "team", "uid": f"uid-{number}"}
        pod["status"] = {"phase": "Pending"}
        self.pods[name] = pod
        self.touch(pod)
        self.run(pod, f"{self.net}.{number}")

    def run(self, pod, address):
        """Start the command of a pod, with its secret and its address."""
        (container,) = pod["spec"]["containers"]
        secret = base64.b64decode(self.kinds["Secret"].get("data", {}).get("token", ""))
        token = self.folder / f"token-{pod['metadata']['uid']}"
        token.write_bytes(secret)
        token.chmod(0o400)
        words = [
            word.replace("0.0.0.0", address).replace("/run/token/token", str(token)) for word in container["command"]
        ]
        assert words[:2] == ["woolexec", "serve"]
        env = os.environ | {each["name"]: each["value"] for each in container["env"]}
        env["WOOLEXEC_STATE"] = str(self.folder / f"state-{pod['metadata']['uid']}")
        with open(self.folder / f"log-{pod['metadata']['uid']}", "wb") as log:
            self.processes[pod["metadata"]["name"]] = subprocess.Popen(
                [sys.executable, "-m", *words, "--workers=1"], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        pod["status"] |= {"phase": "Running", "podIP": address}

    def reap(self):
        """Note which processes have ended, and which can be reached."""
        for name, process in list(self.processes.items()):
            pod = self.pods[name]
            if process.poll() is None:
                if not self.is_ready(pod) and can_connect(pod["status"]["podIP"]):
                    pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
            elif "deletionTimestamp" in pod["metadata"]:
                del self.processes[name], self.pods[name]
            else:
                ended = {"terminated": {"exitCode": process.returncode, "reason": "Error"}}
                waiting = {
                    "waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
                }
                status = {"name": "peer", "ready": False, "restartCount": 1, "image": "", "imageID": ""}
                pod["status"]["containerStatuses"] = [status | {"state": waiting, "lastState": ended}]
                pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]

    def delete(self, name):
        """Have a pod end, as its controller, an administrator or an eviction does."""
        with self.changed:
            self.pods[name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            if self.processes[name].poll() is None:
                self.processes[name].send_signal(signal.SIGTERM)

    def wait_until(self, condition, patience=60.0):
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.05)


def can_connect(address):
    try:
        with socket.create_connection((address, 7437), timeout=0.2):
            return True
    except OSError:
        return False
