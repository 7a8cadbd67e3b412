"""What Kubernetes would say of the manifests, asked without a cluster: by `python -m local.manifests` and the tests."""
