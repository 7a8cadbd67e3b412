"""Every function in one process, behind the same wiring as the cluster."""
