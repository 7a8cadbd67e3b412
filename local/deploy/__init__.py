"""Bringing video2mp3 onto a cluster with Knative: behind knative/install, knative/deploy and knative/remove."""
