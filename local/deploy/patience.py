"""How long a RabbitMQ that is not ours waits for an acknowledgement, set for our queues alone."""

import json
from typing import Any, Final

from local.deploy.rendering import Document, name_of
from local.deploy.runner import DeployError, Runner

#: Seven days, as in eventing/rabbitmq/cluster.yaml.
CONSUMER_TIMEOUT_MILLISECONDS: Final = 604_800_000
_SUFFIX: Final = "-patience"
_KIND: Final = "policies.rabbitmq.com"


def extend(namespace: str, runner: Runner) -> None:
    """Give the triggers' queues the consumer timeout that the dispatchers' prefetch needs.

    Of a queue's policies RabbitMQ keeps the strongest alone, and each trigger's names its dead-letter exchange. So ours
    say the same as those, besides the timeout.

    Raises:
        DeployError: the policies cannot be read.
    """
    runner.say("A policy beside that of each trigger, which says the same and the consumer timeout:")
    found = runner.ask("kubectl", "-n", namespace, "get", _KIND, "-o", "json")
    ours = [_extended(each) for each in json.loads(found or '{"items": []}')["items"] if _is_triggers(each)]
    if not ours:
        return
    names = [f"{_KIND}/{name_of(each)}" for each in ours]
    begin = ("kubectl", "-n", namespace)
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": ours})
    runner.run("kubectl", "apply", "-f", "-", given=given, shown=", ".join(names))
    try:
        runner.run(*begin, "wait", *names, "--for=condition=Ready", "--timeout=60s")
    except DeployError:
        runner.run(*begin, "delete", *names, "--ignore-not-found")
        runner.say(
            "This RabbitMQ takes no consumer timeout by policy (before 3.12 none does). Set in its rabbitmq.conf"
        )
        runner.say(f"consumer_timeout = {CONSUMER_TIMEOUT_MILLISECONDS}, or long queues are delivered twice.")


def _is_triggers(policy: Document) -> bool:
    owners: list[dict[str, Any]] = policy["metadata"].get("ownerReferences", [])
    return any(owner["kind"] == "Trigger" for owner in owners) and not name_of(policy).endswith(_SUFFIX)


def _extended(policy: Document) -> Document:
    spec = policy["spec"]
    metadata = {
        "name": f"{name_of(policy)}{_SUFFIX}",
        "namespace": policy["metadata"]["namespace"],
        # They go with the trigger, too.
        "ownerReferences": policy["metadata"]["ownerReferences"],
    }
    more = {
        "name": f"{spec['name']}{_SUFFIX}",
        "priority": spec.get("priority", 0) + 1,
        "definition": {**spec["definition"], "consumer-timeout": CONSUMER_TIMEOUT_MILLISECONDS},
    }
    return {"apiVersion": policy["apiVersion"], "kind": "Policy", "metadata": metadata, "spec": {**spec, **more}}
