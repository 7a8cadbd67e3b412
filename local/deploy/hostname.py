"""The host name: a name belongs to one namespace of a cluster, and stays with it."""

from collections.abc import Iterable
from typing import Final

from local.deploy import prerequisites
from local.deploy.rendering import name_of, namespace_of, of_kind
from local.deploy.runner import DeployError, Document, Runner

#: In the order in which they are applied.
KINDS: Final = ("ClusterDomainClaim", "DomainMapping")
_CLAIMS: Final = "clusterdomainclaims.networking.internal.knative.dev"
_MAPPINGS: Final = "domainmappings.serving.knative.dev"


def check(documents: Iterable[Document], runner: Runner) -> None:
    """See that the name is nobody else's.

    Raises:
        DeployError: it belongs to another namespace.
    """
    documents = list(documents)
    wanted = {name_of(each) for each in of_kind(documents, "ClusterDomainClaim")}
    for claim in runner.items("kubectl", "get", _CLAIMS):
        owner = claim["spec"]["namespace"]
        if name_of(claim) in wanted and owner != namespace_of(documents):
            raise DeployError(f"The name {name_of(claim)} belongs to namespace {owner}; take another by --url.")


def remove(namespace: str, runner: Runner) -> None:
    """Give up every name that leads to the gateway of a namespace, whatever --url it came by.

    Raises:
        DeployError: something cannot be deleted.
    """
    there = prerequisites.kinds(runner)
    if runner.dry_run:
        runner.say("The DomainMappings to this gateway, and their claims, are deleted.")
    if _MAPPINGS in there:
        for mapping in runner.items("kubectl", "-n", namespace, "get", _MAPPINGS):
            if mapping["spec"]["ref"]["name"] == "gateway":
                runner.run("kubectl", "-n", namespace, "delete", _MAPPINGS, name_of(mapping), "--timeout=120s")
    if _CLAIMS in there:
        for claim in runner.items("kubectl", "get", _CLAIMS):
            if claim["spec"]["namespace"] == namespace:
                runner.run("kubectl", "delete", _CLAIMS, name_of(claim), "--timeout=120s")
