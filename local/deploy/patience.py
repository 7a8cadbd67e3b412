"""How long a RabbitMQ that is not ours waits for an acknowledgement, set for our queues alone."""

import json
from typing import Any, Final

from local.deploy.rendering import name_of
from local.deploy.runner import DeployError, Document, Runner, condition

#: Seven days, as in eventing/rabbitmq/cluster.yaml.
CONSUMER_TIMEOUT_MILLISECONDS: Final = 604_800_000
_SUFFIX: Final = "-patience"
_KIND: Final = "policies.rabbitmq.com"
_READY_SECONDS: Final = 60.0


def extend(namespace: str, runner: Runner) -> None:
    """Give the triggers' queues the consumer timeout that the dispatchers' prefetch needs.

    Of a queue's policies RabbitMQ keeps the strongest alone, and each trigger's names its dead-letter exchange. So ours
    say the same as those, besides the timeout.

    Raises:
        DeployError: the policies cannot be read or written.
    """
    runner.say("a policy beside that of each trigger, which says the same and the consumer timeout")
    kubectl = ("kubectl", "-n", namespace)
    found = runner.items(*kubectl, "get", _KIND)
    ours = [_extended(each) for each in found if _is_triggers(each)]
    if not ours:
        if not runner.dry_run:
            runner.say("There are no policies of triggers yet: run this command again once the triggers are ready.")
        return
    before = {name_of(each) for each in found}
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": ours})
    runner.run("kubectl", "apply", "-f", "-", given=given, shown=", ".join(map(name_of, ours)))
    names = [name_of(each) for each in ours]

    def left() -> dict[str, str]:
        looked = runner.items(*kubectl, "get", _KIND, *names)
        states = {name_of(each): condition(each, "Ready") for each in looked}
        return {name: words for name, (status, words) in states.items() if status != "True"}

    try:
        runner.wait("the policies", left, seconds=_READY_SECONDS, why=lambda name: (*kubectl, "describe", _KIND, name))
    except DeployError as error:
        # One that was good before is good still, once RabbitMQ can be reached; a new one may be refused for ever.
        fresh = [name for name in left() if name not in before]
        if fresh:
            runner.run(*kubectl, "delete", _KIND, *fresh, "--ignore-not-found")
        runner.say(f"{error}")
        runner.say("RabbitMQ before 3.12 takes no consumer timeout by policy. If it is that, set in its rabbitmq.conf")
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
