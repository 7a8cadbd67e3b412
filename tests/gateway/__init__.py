"""The cluster's gateway: nginx as knative/gateway has it, in front of stubs and of the whole local server."""
